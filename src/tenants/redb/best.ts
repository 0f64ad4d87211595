/** The first so many of documents that come in any order, kept while they come. */
import type { StoredDocument } from '../contract.js'
import type { Answer } from '../open-tenant.js'

interface Kept {
  readonly place: Buffer
  readonly document: StoredDocument
  readonly bytes: number
}

export class Best {
  readonly #wanted: number
  readonly #mostBytes: number
  readonly #sign: 1 | -1
  readonly #after: Buffer | undefined
  /** In order. */
  readonly #kept: Kept[] = []
  #bytes = 0

  /** @param after the place that all of them come after */
  constructor(wanted: number, mostBytes: number, descending: boolean, after: Buffer | undefined) {
    this.#wanted = wanted
    this.#mostBytes = mostBytes
    this.#sign = descending ? -1 : 1
    this.#after = after
  }

  offer(place: Buffer, document: StoredDocument): void {
    if (this.#after !== undefined && this.#compare(place, this.#after) <= 0) return
    const last = this.#kept.at(-1)
    if (last !== undefined && this.#isFull() && this.#compare(place, last.place) > 0) return
    const bytes = Buffer.byteLength(document.fieldsJson)
    this.#kept.splice(this.#rankOf(place), 0, { place, document, bytes })
    this.#bytes += bytes
    for (let least = this.#kept.at(-1); least !== undefined && this.#isBeyond(least); least = this.#kept.at(-1)) {
      this.#kept.pop()
      this.#bytes -= least.bytes
    }
  }

  answer(): Answer {
    const documents: StoredDocument[] = []
    let bytes = 0
    for (const kept of this.#kept) {
      bytes += kept.bytes
      if (bytes > this.#mostBytes && documents.length > 0) return { documents, isCut: true }
      documents.push(kept.document)
    }
    return { documents, isCut: false }
  }

  /** Whether what comes after the last can be no part of the answer: enough documents, or enough bytes, come before it. */
  #isFull(): boolean {
    return this.#kept.length >= this.#wanted || this.#bytes > this.#mostBytes
  }

  /** One document beyond the bytes is kept: it says that the answer is cut. */
  #isBeyond({ bytes }: Kept): boolean {
    return this.#kept.length > this.#wanted || (this.#bytes - bytes > this.#mostBytes && this.#kept.length > 1)
  }

  #rankOf(place: Buffer): number {
    let low = 0
    let high = this.#kept.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const kept = this.#kept[middle]
      if (kept !== undefined && this.#compare(kept.place, place) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #compare(a: Buffer, b: Buffer): number {
    return this.#sign * Buffer.compare(a, b)
  }
}
