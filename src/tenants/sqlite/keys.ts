/** A field's place in the order of all JSON values (`sort-key.ts`), as SQL. */
import type { SortKey } from '../sort-key.js'
import type { Parameters } from './parameters.js'

/**
 * SQLite orders numbers before texts before blobs, and texts by their UTF-8 bytes, which is by code point. So numbers and strings
 * are themselves, and everything after them is a blob of one byte.
 */
const BLOB_OF_KIND = {
  false: "x'00'",
  true: "x'01'",
  container: "x'02'",
  null: "x'03'",
  missing: "x'04'",
} as const satisfies Record<Exclude<SortKey['kind'], 'number' | 'string'>, string>

/** The least text and the least blob: where numbers end, and where strings end. */
export const FIRST_STRING = "''"
export const FIRST_BLOB = "x''"
/** Everything below takes part in a unique index. */
export const FIRST_NOT_UNIQUE = BLOB_OF_KIND.container

/** The key of the field at a JSON path, itself given as SQL: a literal in a column's definition, a parameter in a query. */
export function keyOfField(jsonPath: string): string {
  return `CASE json_type(fields, ${jsonPath})
    WHEN 'false' THEN ${BLOB_OF_KIND.false} WHEN 'true' THEN ${BLOB_OF_KIND.true}
    WHEN 'array' THEN ${BLOB_OF_KIND.container} WHEN 'object' THEN ${BLOB_OF_KIND.container}
    WHEN 'null' THEN ${BLOB_OF_KIND.null}
    ELSE ifnull(json_extract(fields, ${jsonPath}), ${BLOB_OF_KIND.missing}) END`
}

/**
 * The key of a value that a client sent. A number goes through JSON text like the stored ones: SQLite reads some texts as the
 * neighbour of the double that JavaScript reads, and large whole numbers as integers; compared as text against text both
 * err alike, and neighbours stay apart and in order.
 */
export function keyOfValue(key: SortKey, parameters: Parameters): string {
  switch (key.kind) {
    case 'number':
      return `json_extract(${parameters.add(JSON.stringify(key.value))}, '$')`
    case 'string':
      return parameters.add(key.value)
    default:
      return BLOB_OF_KIND[key.kind]
  }
}

/** `$."author"."name"`: field paths hold no quote and no backslash (`field-path.ts`). */
export function jsonPathOf(fieldPath: string): string {
  return `$${fieldPath
    .split('.')
    .map((name) => `."${name}"`)
    .join('')}`
}
