/** Keys of a redb tenant: bytes whose order is that of documents, and of all JSON values (`sort-key.ts`). */
import type { IdPrefix } from '../ids.js'
import type { SortKey } from '../sort-key.js'

/** The part of an id that orders it: 48 bits of time and 12 of counter, big-endian. */
export const DOCUMENT_KEY_BYTES = 8

/**
 * What a value's key begins with. Each key ends where its value does (a number after 8 bytes, a string at its NUL, which no
 * stored string holds), so that keys may stand behind each other and still compare value by value.
 */
const TAGS = {
  number: 0x10,
  string: 0x20,
  false: 0x30,
  true: 0x31,
  container: 0x40,
  null: 0x50,
  missing: 0x60,
} as const
const NUMBER_BYTES = 9
const SIGN = 0x80
const STRING_END = Buffer.from([0])
/** Greater than whatever may follow a value's key: another tag, or the key of a document. */
const BEYOND = Buffer.from([0xff])

export function documentKey({ ms, counter }: IdPrefix): Buffer {
  const key = Buffer.allocUnsafe(DOCUMENT_KEY_BYTES)
  key.writeUInt32BE(Math.floor(ms / 2 ** 20), 0)
  key.writeUInt32BE((ms % 2 ** 20) * 2 ** 12 + counter, 4)
  return key
}

export function parseDocumentKey(key: Buffer): IdPrefix {
  const low = key.readUInt32BE(4)
  return { ms: key.readUInt32BE(0) * 2 ** 20 + (low >>> 12), counter: low & 0xfff }
}

/** The document that an entry of an index names. */
export function documentKeyOf(entry: Buffer): Buffer {
  return entry.subarray(entry.length - DOCUMENT_KEY_BYTES)
}

/** The values of an entry of an index: all of it but the document. */
export function valuesOf(entry: Buffer): Buffer {
  return entry.subarray(0, entry.length - DOCUMENT_KEY_BYTES)
}

export function valueKey(value: SortKey): Buffer {
  switch (value.kind) {
    case 'number':
      return numberKey(value.value)
    case 'string':
      return Buffer.concat([Buffer.from([TAGS.string]), Buffer.from(value.value), STRING_END])
    default:
      return Buffer.from([TAGS[value.kind]])
  }
}

/** Whether documents of this value take part in a unique index. */
export function isUniqueKind({ kind }: SortKey): boolean {
  return TAGS[kind] < TAGS.container
}

/** The same of values whose keys stand behind each other. */
export function takesPart(values: Buffer): boolean {
  for (let at = 0; at < values.length;) {
    const tag = values.readUInt8(at)
    if (tag >= TAGS.container) return false
    if (tag === TAGS.string) at = values.indexOf(STRING_END, at) + 1
    else at += tag === TAGS.number ? NUMBER_BYTES : 1
  }
  return true
}

/** Where the keys end that begin with this one. */
export function endOf(prefix: Buffer): Buffer {
  return Buffer.concat([prefix, BEYOND])
}

/** Where the numbers, or the strings, begin and end. */
export function boundsOfKind(kind: 'number' | 'string'): { readonly from: Buffer; readonly to: Buffer } {
  return { from: Buffer.from([TAGS[kind]]), to: Buffer.from([TAGS[kind] + 1]) }
}

/** IEEE 754, "totalOrder": as unsigned bytes positive numbers compare once their sign is set, negative ones once inverted. */
function numberKey(value: number): Buffer {
  const key = Buffer.allocUnsafe(NUMBER_BYTES)
  key[0] = TAGS.number
  // Adding zero makes -0, which is equal to 0, the same bytes.
  key.writeDoubleBE(value + 0, 1)
  const first = key.readUInt8(1)
  if (first < SIGN) key[1] = first | SIGN
  else for (let at = 1; at < key.length; at++) key[at] = ~key.readUInt8(at) & 0xff
  return key
}
