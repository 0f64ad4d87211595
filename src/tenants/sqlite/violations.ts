/** Finds stored documents that a new schema would refuse, on a native thread; what is wrong with one is said by `schema.ts`. */
import { NimbusError } from '../../errors.js'
import type { SqliteStore } from '../../native.js'
import { parseFields } from '../json.js'
import { type FieldRule, requireConforming } from '../schema.js'
import { jsonPathOf } from './keys.js'
import { type DocumentTable, docsOf } from './table.js'

/**
 * SQL picks the suspects, which spares parsing every document; a suspect that turns out to conform is passed over.
 *
 * @throws `schema_violation` with the path of the field, and the id of the document in the detail.
 */
export async function requireNoViolation(
  store: SqliteStore,
  table: DocumentTable,
  rules: ReadonlyMap<string, FieldRule>,
): Promise<void> {
  const conditions = [...rules].flatMap(([path, rule]) => suspicion(`'${jsonPathOf(path)}'`, rule))
  if (conditions.length === 0) return
  const sql = `SELECT seq >> 12, seq & 4095, id, fields FROM ${docsOf(table)}
    WHERE seq > ((?1 << 12) | ?2) AND (${conditions.join(' OR ')}) ORDER BY seq LIMIT 1`
  const schema = { fields: Object.fromEntries(rules), indexes: [] }
  let after = [-1, 0]
  for (;;) {
    const [suspect] = await store.query(sql, after)
    if (suspect === undefined) return
    const [ms, counter, id, fields] = suspect
    requireDocument(String(id), String(fields), schema)
    after = [Number(ms), Number(counter)]
  }
}

/** SQL that is true of every document that violates the rule. */
function suspicion(jsonPath: string, { type, required }: FieldRule): string[] {
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

function requireDocument(id: string, fields: string, schema: Parameters<typeof requireConforming>[0]): void {
  try {
    requireConforming(schema, parseFields(fields))
  } catch (error) {
    if (!(error instanceof NimbusError) || error.code !== 'schema_violation') throw error
    const { code, message, remediation, path } = error
    throw new NimbusError(code, `document ${id}: ${message}`, { remediation, path, detail: { id }, cause: error })
  }
}
