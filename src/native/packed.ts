/** Many byte strings as one run of bytes and their lengths: the form in which they cross to the addon and back. */
import type * as Addon from '../../index.js'

/** Stands for the length of what is not there. */
export const ABSENT = 0xffffffff

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

/** Takes apart what `concatenate` made. The parts are views of one memory. */
export function split({ bytes, lengths }: Addon.NativePacked): (Uint8Array | undefined)[] {
  let start = 0
  return Array.from(lengths, (length) => (length === ABSENT ? undefined : bytes.subarray(start, (start += length))))
}

/** Takes apart keys and values by turns; none of them is absent. */
export function splitPairs({ bytes, lengths }: Addon.NativePacked): [key: Uint8Array, value: Uint8Array][] {
  const pairs: [key: Uint8Array, value: Uint8Array][] = []
  let start = 0
  for (let place = 0; place + 1 < lengths.length; place += 2) {
    const middle = start + (lengths[place] ?? 0)
    const end = middle + (lengths[place + 1] ?? 0)
    pairs.push([bytes.subarray(start, middle), bytes.subarray(middle, end)])
    start = end
  }
  return pairs
}

export function lengthOf(bytes: unknown): number {
  if (bytes instanceof Uint8Array) return bytes.length
  throw new TypeError('a key or value must be a Uint8Array')
}
