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
export function split({ bytes, lengths }: Addon.NativePacked): (Uint8Array | undefined)[] {
  const pieces = new Pieces(bytes)
  let start = 0
  return Array.from(lengths, (length) => {
    if (length === ABSENT) return undefined
    const part = pieces.take(start, length)
    start = aligned(start + length)
    return part
  })
}

/** Takes apart keys and values by turns; none of them is absent. Short ones share memories of 8 KiB. */
export function splitPairs({ bytes, lengths }: Addon.NativePacked): Pair[] {
  const pieces = new Pieces(bytes)
  const pairs: Pair[] = []
  let start = 0
  for (let place = 0; place + 1 < lengths.length; place += 2) {
    const keyBytes = lengths[place] ?? 0
    const valueBytes = lengths[place + 1] ?? 0
    const middle = aligned(start + keyBytes)
    pairs.push([pieces.take(start, keyBytes), pieces.take(middle, valueBytes)])
    start = aligned(middle + valueBytes)
  }
  return pairs
}

/**
 * Parts of a run of bytes, taken from its front to its end, in memory that they have for good. A memory of its own for each would
 * cost ten times as much as reading it, and views of the whole run would keep all of it for as long as one of them is kept.
 */
class Pieces {
  readonly #bytes: Uint8Array
  #piece = new ArrayBuffer(0)
  #start = 0
  #end = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  take(start: number, length: number): Uint8Array {
    if (length > LONGEST_SHARED) return this.#bytes.slice(start, start + length)
    if (start + length > this.#end) {
      this.#start = start
      this.#end = Math.min(start + SHARED_BYTES, this.#bytes.length)
      this.#piece = this.#bytes.slice(start, this.#end).buffer
    }
    return new Uint8Array(this.#piece, start - this.#start, length)
  }
}

export function lengthOf(bytes: unknown): number {
  if (bytes instanceof Uint8Array) return bytes.length
  throw new TypeError('a key or value must be a Uint8Array')
}
