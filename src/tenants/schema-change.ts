/** What a new schema of a table asks of the documents and the indexes that are there. */
import { NimbusError } from '../errors.js'
import type { JsonObject } from './json.js'
import { type FieldRule, type IndexRule, type TableSchema, requireConforming } from './schema.js'

/** The fields whose rules admit less under the new schema than under the old: only they can be violated by old documents. */
export function stricterFields(before: TableSchema | undefined, after: TableSchema): ReadonlyMap<string, FieldRule> {
  const isNew = ([path, rule]: readonly [string, FieldRule]): boolean => {
    const old = before !== undefined && Object.hasOwn(before.fields, path) ? before.fields[path] : undefined
    return old?.type !== rule.type || (rule.required && !old.required)
  }
  return new Map(Object.entries(after.fields).filter(isNew))
}

/** Whether the index is already there as it is wanted. */
export function isKept(before: TableSchema | undefined, wanted: IndexRule): boolean {
  const old = before?.indexes.find(({ name }) => name === wanted.name)
  return old !== undefined && old.unique === wanted.unique && old.fields.join() === wanted.fields.join()
}

/** @throws `schema_violation` with the path of the field, and the id of the document in the detail */
export function requireStored(id: string, fields: JsonObject, rules: ReadonlyMap<string, FieldRule>): void {
  try {
    requireConforming({ fields: Object.fromEntries(rules), indexes: [] }, fields)
  } catch (error) {
    if (!(error instanceof NimbusError)) throw error
    const { code, message, remediation, path } = error
    throw new NimbusError(code, `document ${id}: ${message}`, { remediation, path, detail: { id }, cause: error })
  }
}
