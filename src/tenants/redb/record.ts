/** A document as the bytes of a redb value, under the key that its id is ordered by. */
import { NimbusError } from '../../errors.js'
import type { StoredDocument } from '../contract.js'
import { type DocumentId, parseDocumentId } from '../ids.js'
import { DOCUMENT_KEY_BYTES, parseDocumentKey } from './keys.js'

/**
 * | offset | bytes | what                                                                      |
 * |--------|-------|---------------------------------------------------------------------------|
 * | 0      | 1     | 1, the form of what follows                                               |
 * | 1      | 8     | the id's last 8 bytes: variant and random bits, which no key holds        |
 * | 9      | 6     | version                                                                   |
 * | 15     | 6     | created, milliseconds since 1970-01-01 UTC                                |
 * | 21     | 6     | updated, likewise                                                         |
 * | 27     |       | the fields: JSON text in UTF-8                                            |
 *
 * Integers are big-endian.
 */
const FORM = 1
const TAIL_AT = 1
const VERSION_AT = 9
const CREATED_AT = 15
const UPDATED_AT = 21
const FIELDS_AT = 27
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d

export function encodeDocument(document: StoredDocument): Buffer {
  const fieldsBytes = Buffer.byteLength(document.fieldsJson)
  const record = Buffer.allocUnsafe(FIELDS_AT + fieldsBytes)
  record[0] = FORM
  record.write(document.id.slice(-17, -13) + document.id.slice(-12), TAIL_AT, 'hex')
  record.writeUIntBE(document.version, VERSION_AT, 6)
  record.writeUIntBE(document.createdAt, CREATED_AT, 6)
  record.writeUIntBE(document.updatedAt, UPDATED_AT, 6)
  record.write(document.fieldsJson, FIELDS_AT)
  return record
}

/** @throws `file_corrupt` for bytes that `encodeDocument` did not make */
export function decodeDocument(table: string, key: Buffer, record: Buffer, path: string): StoredDocument {
  const isWhole =
    key.length === DOCUMENT_KEY_BYTES &&
    record.length > FIELDS_AT + 1 &&
    record[0] === FORM &&
    record[FIELDS_AT] === OPENING_BRACE &&
    record[record.length - 1] === CLOSING_BRACE
  const id = isWhole ? idOf(key, record) : undefined
  if (id === undefined) {
    throw new NimbusError('file_corrupt', `a document of table ${table} in ${path} is not as nimbus stores one`, {
      path,
    })
  }
  return {
    id: id.text,
    table,
    version: record.readUIntBE(VERSION_AT, 6),
    createdAt: record.readUIntBE(CREATED_AT, 6),
    updatedAt: record.readUIntBE(UPDATED_AT, 6),
    fieldsJson: record.toString('utf8', FIELDS_AT),
  }
}

function idOf(key: Buffer, record: Buffer): DocumentId | undefined {
  const { ms, counter } = parseDocumentKey(key)
  const time = ms.toString(16).padStart(12, '0')
  const tail = record.toString('hex', TAIL_AT, VERSION_AT)
  const version = `7${counter.toString(16).padStart(3, '0')}`
  return parseDocumentId(`${time.slice(0, 8)}-${time.slice(8)}-${version}-${tail.slice(0, 4)}-${tail.slice(4)}`)
}
