/** The one total order of JSON values, the same in every provider, and positions in it: what cursors carry. */
import { invalidCursor } from './cursor.js'
import { parseDocumentId } from './ids.js'
import { type JsonValue, isJsonObject } from './json.js'

/**
 * A value's place among all values: numbers by value, then strings by code point, then `false`, `true`, containers (arrays and
 * objects, all equal), `null`, and last the documents that have no such field. Values of two kinds are never equal, so a
 * filter with a number cannot match a string or a boolean.
 */
export type SortKey =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'false' | 'true' | 'container' | 'null' | 'missing' }

/** Where a page ended: after this document. `key` is its place in the query's order, absent when the order is by id. */
export interface Position {
  readonly id: string
  readonly key: SortKey | undefined
}

const VALUELESS = ['false', 'true', 'container', 'null', 'missing'] as const

export function sortKeyOf(value: JsonValue | undefined): SortKey {
  if (value === undefined) return { kind: 'missing' }
  if (value === null) return { kind: 'null' }
  if (typeof value === 'number') return { kind: 'number', value }
  if (typeof value === 'string') return { kind: 'string', value }
  if (typeof value === 'boolean') return { kind: value ? 'true' : 'false' }
  return { kind: 'container' }
}

/** A position as a cursor carries it: `{"id"}`, `{"id","kind"}` or `{"id","kind","value"}`. */
export function encodePosition({ id, key }: Position): JsonValue {
  return key === undefined ? { id } : { id, ...key }
}

/** @throws `invalid_cursor` for a position that `encodePosition` did not make for an order of this kind. */
export function decodePosition(encoded: JsonValue, orderedByField: boolean): Position {
  if (!isJsonObject(encoded)) throw invalidCursor()
  const { id, kind, value } = encoded
  if (typeof id !== 'string' || parseDocumentId(id)?.text !== id) throw invalidCursor()
  const key = decodeKey(kind, value)
  if ((key !== undefined) !== orderedByField) throw invalidCursor()
  return { id, key }
}

function decodeKey(kind: JsonValue | undefined, value: JsonValue | undefined): SortKey | undefined {
  if (kind === undefined) return undefined
  if (kind === 'number' && typeof value === 'number') return { kind, value }
  if (kind === 'string' && typeof value === 'string') return { kind, value }
  const valueless = VALUELESS.find((name) => name === kind)
  if (valueless === undefined || value !== undefined) throw invalidCursor()
  return { kind: valueless }
}
