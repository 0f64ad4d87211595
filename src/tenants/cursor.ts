/** Cursors: where a page ended, as opaque text that is good for the same query only. */
import { createHash } from 'node:crypto'
import { NimbusError } from '../errors.js'
import { type JsonValue, parseJson } from './json.js'

/**
 * Base64url (RFC 4648, section 5, without padding) of a digest and a position: 12 bytes of SHA-256 over the query's shape
 * and the position, then the position as JSON. The digest tells another query and damage; it is no secret, since whoever may
 * page through a query may start anywhere in it.
 */
const DIGEST_BYTES = 12
/** What fits into a URL everywhere. */
export const MAX_CURSOR_LENGTH = 8_192
const DOMAIN = 'nimbus cursor 1'

/**
 * @param shape everything that decides which documents come in which order; the size of a page does not
 * @throws `invalid_request` for a position in an order by values of more than about 6,000 bytes
 */
export function encodeCursor(shape: JsonValue, position: JsonValue): string {
  const payload = Buffer.from(JSON.stringify(position))
  const cursor = Buffer.concat([digest(shape, payload), payload]).toString('base64url')
  if (cursor.length <= MAX_CURSOR_LENGTH) return cursor
  throw new NimbusError('invalid_request', 'the values of the order are too long for a cursor', {
    path: 'order.field',
    remediation: 'Order by a field with values of less than 6,000 bytes.',
  })
}

/** The position in a cursor, or `invalid_cursor` if it is damaged or another query's. */
export function decodeCursor(shape: JsonValue, cursor: string): JsonValue {
  const bytes = Buffer.from(cursor, 'base64url')
  const payload = bytes.subarray(DIGEST_BYTES)
  // Buffer.from skips what is not base64url; only text that comes back the same was a cursor.
  const genuine =
    bytes.toString('base64url') === cursor && digest(shape, payload).equals(bytes.subarray(0, DIGEST_BYTES))
  if (!genuine) throw invalidCursor()
  try {
    return parseJson(payload.toString())
  } catch {
    throw invalidCursor()
  }
}

export function invalidCursor(): NimbusError {
  return new NimbusError('invalid_cursor', 'the cursor is damaged, or of another query', { path: 'after' })
}

function digest(shape: JsonValue, payload: Uint8Array): Buffer {
  const text = JSON.stringify([DOMAIN, shape])
  return createHash('sha256').update(text).update('\0').update(payload).digest().subarray(0, DIGEST_BYTES)
}
