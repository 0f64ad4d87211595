/** How keys and values become bytes. Keys are ordered by their bytes, so an encoding of keys decides their order. */
import { decode, encode } from '@msgpack/msgpack'
import { copyOf } from './copy.js'

/** Both directions of one type; `decode` may keep what it is given. */
export interface Encoding<T> {
  encode(value: T): Uint8Array
  decode(bytes: Uint8Array): T
  /** As `decode`, of bytes that nobody writes to: what would copy them need not. Without it, `decode`. */
  take?(bytes: Uint8Array): T
}

/**
 * Bytes as they are. What is read is the caller's; up to 4 KiB it is a view of memory that it shares with at most 8 KiB of what else was
 * read from the same store, so take `buffer` together with `byteOffset`, a multiple of 8.
 */
export const bytes: Encoding<Uint8Array> = {
  encode(value) {
    if (value instanceof Uint8Array) return value
    throw new TypeError('a key or value encoded as `bytes` must be a Uint8Array')
  },
  decode: (stored) => copyOf(stored),
  take: (stored) => stored,
}

const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text as UTF-8, ordered by code points. Half a surrogate pair has no UTF-8 and is a `TypeError`. */
export const utf8: Encoding<string> = {
  encode(value) {
    if (typeof value !== 'string') throw new TypeError('a key or value encoded as `utf8` must be a string')
    if (!value.isWellFormed()) throw new TypeError('a key or value encoded as `utf8` holds half a surrogate pair')
    return Buffer.from(value, 'utf8')
  },
  decode: (stored) => fromUtf8.decode(stored),
}

/** What `JSON.stringify` makes of a value. `T` is the caller's word: what is read is not checked against it. */
export function json<T>(): Encoding<T>
export function json(): Encoding<unknown> {
  return JSON_TEXT
}

const JSON_TEXT: Encoding<unknown> = {
  encode(value) {
    // Whatever its typings say: `undefined`, functions and symbols come to nothing.
    const text: unknown = JSON.stringify(value)
    if (typeof text !== 'string') throw new TypeError(`JSON has no form of a value of type ${typeof value}`)
    return Buffer.from(text, 'utf8')
  },
  decode: (stored): unknown => JSON.parse(fromUtf8.decode(stored)),
}

/**
 * MessagePack: more compact than JSON, and with bytes and dates. `T` is the caller's word here too. Fields of bytes are views of the
 * memory of the value that they were read with, which short values share as `bytes` do.
 */
export function msgpack<T>(): Encoding<T>
export function msgpack(): Encoding<unknown> {
  return MESSAGE_PACK
}

const MESSAGE_PACK: Encoding<unknown> = {
  encode: (value) => encode(value),
  // A copy: what it decodes to may hold views of it.
  decode: (stored) => decode(copyOf(stored)),
  take: (stored) => decode(stored),
}
