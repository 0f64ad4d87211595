/** A table of documents, and its entry in the catalog. */
import { NimbusError } from '../../errors.js'
import type { KvOperation } from '../../native.js'
import { type JsonObject, type JsonValue, isJsonObject } from '../json.js'
import type { TableState } from '../open-tenant.js'
import { type IndexRule, type TableSchema, decodeSchema } from '../schema.js'
import { type SortKey, sortKeyOf } from '../sort-key.js'
import { readField } from '../field-path.js'
import { isUniqueKind, valueKey } from './keys.js'
import { CATALOG_TABLE, decodeObject, docsOf, entriesOf } from './layout.js'

export interface IndexState extends IndexRule {
  readonly number: number
  /** The redb table of its entries. */
  readonly entries: string
  /** Its fields' paths, split. */
  readonly paths: readonly (readonly string[])[]
}

/** A table, as one state of the catalog knows it; a change of its schema makes another object. */
export interface DocumentTable extends TableState {
  readonly number: number
  /** The redb table of its documents. */
  readonly docs: string
  readonly indexes: readonly IndexState[]
}

/** @param numbers of the schema's indexes, by their names. No two tables, and no two indexes, of a tenant have the same number. */
export function documentTable(
  number: number,
  name: string,
  schema: TableSchema | undefined,
  numbers: ReadonlyMap<string, number>,
): DocumentTable {
  const indexes = (schema?.indexes ?? []).map((rule) => {
    const index = numbers.get(rule.name)
    if (index === undefined) throw new TypeError(`index ${rule.name} has no number`)
    return { ...rule, number: index, entries: entriesOf(index), paths: rule.fields.map((path) => path.split('.')) }
  })
  return { number, name, schema, docs: docsOf(number), indexes }
}

/** What the entry of a document in an index begins with, and whether no other document may have the same. */
export function valuesIn(
  { paths, unique }: IndexState,
  fields: JsonObject,
): { readonly values: Buffer; readonly isUnique: boolean } {
  const keys: SortKey[] = paths.map((names) => sortKeyOf(readField(fields, names)))
  return { values: Buffer.concat(keys.map(valueKey)), isUnique: unique && keys.every(isUniqueKind) }
}

/** `indexes` is the number of each index of the schema, by its name; `schema` is null where there is none. */
export function encodeTable({ number, schema, indexes }: DocumentTable): Buffer {
  const numbers = Object.fromEntries(indexes.map((index) => [index.name, index.number]))
  return Buffer.from(JSON.stringify({ number, schema: schema ?? null, indexes: numbers }))
}

export function tableOperation(table: DocumentTable): KvOperation {
  return { table: CATALOG_TABLE, key: Buffer.from(table.name), value: encodeTable(table) }
}

/** @throws `file_corrupt` for an entry that `encodeTable` did not make */
export function decodeTable(name: string, stored: Uint8Array, path: string): DocumentTable {
  const { number, schema = null, indexes } = decodeObject(stored)
  const decoded = schema === null ? undefined : decodeSchema(schema)
  const numbers = decodeNumbers(indexes)
  const isWhole =
    Number.isSafeInteger(number) &&
    (schema === null || decoded !== undefined) &&
    (decoded?.indexes ?? []).every((index) => Number.isSafeInteger(numbers.get(index.name)))
  if (isWhole) return documentTable(Number(number), name, decoded, numbers)
  throw new NimbusError('file_corrupt', `the catalog of ${path} holds a table that nimbus did not write`, { path })
}

function decodeNumbers(stored: JsonValue | undefined): Map<string, number> {
  const numbers = isJsonObject(stored) ? Object.entries(stored) : []
  return new Map(numbers.map(([name, number]) => [name, Number(number)]))
}
