/** Copies of bytes: a `Buffer`'s own `slice` is a view, so what is handed over by a caller is never copied with it. */
export function copyOf(bytes: Uint8Array, length = bytes.length): Uint8Array {
  return new Uint8Array(length === bytes.length ? bytes : bytes.subarray(0, length))
}
