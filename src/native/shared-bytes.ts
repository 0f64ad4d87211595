/** Memory for byte strings that are read one by one: one of its own for each would cost several times the read. */
import { LONGEST_SHARED, SHARED_BYTES, aligned } from './packed.js'

/** Hands out memory that is never written to again; short byte strings share it. */
export class SharedBytes {
  #bytes = new Uint8Array(0)
  #end = 0

  copy(source: Uint8Array): Uint8Array {
    const { length } = source
    if (length > LONGEST_SHARED) return new Uint8Array(source)
    let start = this.#end
    // A memory that somebody transferred away has no bytes left.
    if (start + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SHARED_BYTES)
      start = 0
    }
    this.#end = aligned(start + length)
    const copy = new Uint8Array(this.#bytes.buffer, start, length)
    copy.set(source)
    return copy
  }
}
