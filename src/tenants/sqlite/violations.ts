/** Finds stored documents that a new schema would refuse, on a native thread; what is wrong with one is said by `schema.ts`. */
import type { SqliteStore } from '../../native.js'
import { parseFields } from '../json.js'
import type { FieldRule } from '../schema.js'
import { requireStored } from '../schema-change.js'
import { jsonPathOf } from './keys.js'
import { type DocumentTable, docsOf } from './table.js'

/** @throws `schema_violation` with the path of the field, and the id of the document in the detail. */
export async function requireNoViolation(
  store: SqliteStore,
  table: DocumentTable,
  rules: ReadonlyMap<string, FieldRule>,
): Promise<void> {
  const conditions = [...rules].flatMap(([path, rule]) => violationSql(`'${jsonPathOf(path)}'`, rule))
  if (conditions.length === 0) return
  const sql = `SELECT id, fields FROM ${docsOf(table)} WHERE ${conditions.join(' OR ')} ORDER BY seq LIMIT 1`
  const [violating] = await store.query(sql, [])
  if (violating === undefined) return
  const [id, fields] = violating
  requireStored(String(id), parseFields(String(fields)), rules)
  throw new TypeError('a document violates the schema by SQL and conforms to it by TypeScript')
}

/** SQL that is true of exactly the documents that violate the rule. */
function violationSql(jsonPath: string, { type, required }: FieldRule): string[] {
  const found = `json_type(fields, ${jsonPath})`
  const value = `json_extract(fields, ${jsonPath})`
  const wrongType = {
    string: `${found} NOT IN ('text', 'null')`,
    number: `${found} NOT IN ('integer', 'real', 'null')`,
    boolean: `${found} NOT IN ('true', 'false', 'null')`,
    // Dates that do not exist come back as others; whatever comes back the same is a date in UTC with milliseconds.
    datetime: `(${found} <> 'null' AND strftime('%Y-%m-%dT%H:%M:%fZ', ${value}) IS NOT ${value})`,
    json: 'FALSE',
  }[type]
  if (!required) return type === 'json' ? [] : [wrongType]
  return [wrongType, type === 'json' ? `${found} IS NULL` : `ifnull(${found}, 'null') = 'null'`]
}
