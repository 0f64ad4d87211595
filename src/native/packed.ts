/** Many byte strings as one run of bytes and their lengths: the form in which they cross to the addon and back. */
import type * as Addon from '../../index.js'

/** Stands for the length of what is not there. */
export const ABSENT = 0xffffffff

/** Short byte strings that are read share memories of so many bytes: whoever keeps one keeps no more. */
export const SHARED_BYTES = 8 * 1024
/** What is longer has memory of its own, and takes up nobody else's. */
export const LONGEST_SHARED = SHARED_BYTES / 2

/** Where native code lets a byte string begin, so that 64-bit numbers can be read in its place. */
export const aligned = (place: number): number => Math.ceil(place / 8) * 8

/** Copies byte strings one behind the other. What is no `Uint8Array` is a `TypeError` that says so. */
export function concatenate(strings: readonly Uint8Array[]): Uint8Array {
  let total = 0
  for (const string of strings) total += lengthOf(string)
  const bytes = new Uint8Array(total)
  let end = 0
  for (const string of strings) {
    bytes.set(string, end)
    end += string.length
  }
  return bytes
}

export type Pair = [key: Uint8Array, value: Uint8Array]

/** Takes apart what native code packed. Short parts share memories of 8 KiB. */
export function split(packed: Addon.NativePacked): (Uint8Array | undefined)[] {
  const pieces = new Pieces(packed)
  return Array.from(packed.lengths, () => pieces.next())
}

/** Takes apart keys and values by turns; none of them is absent. Short ones share memories of 8 KiB. */
export function splitPairs(packed: Addon.NativePacked): Pair[] {
  const pieces = new Pieces(packed)
  const pairs: Pair[] = []
  for (let place = 0; place + 1 < packed.lengths.length; place += 2)
    pairs.push([pieces.next() ?? NOTHING, pieces.next() ?? NOTHING])
  return pairs
}

const NOTHING = new Uint8Array(0)

/**
 * The parts of what native code packed, from its front to its end, in memory that they have for good. A memory of its own for each
 * would cost ten times as much as reading it, and views of the whole run would keep all of it for as long as one of them is kept.
 */
class Pieces {
  readonly #bytes: Uint8Array
  readonly #lengths: Uint32Array
  #place = 0
  #next = 0
  #piece = new ArrayBuffer(0)
  #start = 0
  #end = 0

  constructor({ bytes, lengths }: Addon.NativePacked) {
    this.#bytes = bytes
    this.#lengths = lengths
  }

  next(): Uint8Array | undefined {
    const length = this.#lengths[this.#place] ?? ABSENT
    if (length === ABSENT) {
      this.#place += 1
      return undefined
    }
    const start = this.#next
    const end = start + length
    if (length > LONGEST_SHARED) {
      this.#place += 1
      this.#next = aligned(end)
      return this.#bytes.slice(start, end)
    }
    if (end > this.#end) {
      this.#start = start
      this.#end = this.#endOfPiece(start)
      this.#piece = this.#bytes.slice(start, this.#end).buffer
    }
    this.#place += 1
    this.#next = aligned(end)
    return new Uint8Array(this.#piece, start - this.#start, length)
  }

  /** Of short parts that follow each other: what is long is not copied with them, nor what the next piece begins with. */
  #endOfPiece(start: number): number {
    let end = start
    for (let place = this.#place; place < this.#lengths.length; place++) {
      const length = this.#lengths[place] ?? ABSENT
      if (length === ABSENT) continue
      const next = aligned(end) + length
      if (length > LONGEST_SHARED || next - start > SHARED_BYTES) break
      end = next
    }
    return end
  }
}

export function lengthOf(bytes: unknown): number {
  if (bytes instanceof Uint8Array) return bytes.length
  throw new TypeError('a key or value must be a Uint8Array')
}
