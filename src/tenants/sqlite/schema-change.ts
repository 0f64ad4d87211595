/** From one schema of a table to the next, as one write: which indexes and key columns come and go. */
import type { Step } from '../../native.js'
import type { IndexRule, TableSchema } from '../schema.js'
import { isKept } from '../schema-change.js'
import { FIRST_NOT_UNIQUE, jsonPathOf, keyOfField } from './keys.js'
import { type DocumentTable, docsOf, keyColumn } from './table.js'

export interface SchemaChange {
  readonly steps: readonly Step[]
  /** The index that a step builds, by the number of the step. */
  readonly builds: ReadonlyMap<number, string>
  readonly after: DocumentTable
}

/** Indexes that stay as they were are not built again. */
export function planSchemaChange(table: DocumentTable, schema: TableSchema | undefined): SchemaChange {
  const wanted = schema?.indexes ?? []
  const kept = wanted.filter((index) => isKept(table.schema, index))
  const indexes = numbered(
    wanted.map((index) => index.name),
    new Map(kept.flatMap(({ name }) => entryOf(table.indexes, name))),
    table.indexes,
  )
  const paths = [...new Set(wanted.flatMap((index) => index.fields))]
  const keys = numbered(paths, new Map(paths.flatMap((path) => entryOf(table.keys, path))), table.keys)
  const after: DocumentTable = { ...table, schema, keys, indexes }

  const steps: Step[] = []
  const builds = new Map<number, string>()
  const keptNames = new Set(kept.map((index) => index.name))
  for (const [name, number] of table.indexes) {
    if (!keptNames.has(name)) steps.push(...dropIndex(table, number))
  }
  for (const [path, number] of keys) if (!table.keys.has(path)) steps.push(addKey(after, path, number))
  for (const index of wanted) {
    if (keptNames.has(index.name)) continue
    for (const step of createIndex(after, index)) builds.set(steps.push(step) - 1, index.name)
  }
  for (const [path, number] of table.keys) if (!keys.has(path)) steps.push(dropKey(table, number))
  steps.push(storeTable(after))
  return { steps, builds, after }
}

/** The unique index that a constraint failed on, by SQLite's words: `UNIQUE constraint failed: docs_1.key_0, docs_1.key_3`. */
export function violatedIndex(table: DocumentTable, message: string): string | undefined {
  const columns = message.slice(message.lastIndexOf(':') + 1).split(',')
  const failed = columns.map((column) => column.trim()).join()
  const docs = docsOf(table)
  return table.schema?.indexes.find(
    ({ unique, fields }) =>
      unique &&
      keyColumns(table, fields)
        .map((column) => `${docs}.${column}`)
        .join() === failed,
  )?.name
}

/** The catalog's row of a table, written over. */
export function storeTable({ id, schema, keys, indexes }: DocumentTable): Step {
  return {
    sql: 'UPDATE nimbus_tables SET schema = ?2, keys = ?3, indexes = ?4 WHERE id = ?1',
    params: [
      id,
      schema === undefined ? null : JSON.stringify(schema),
      JSON.stringify(Object.fromEntries(keys)),
      JSON.stringify(Object.fromEntries(indexes)),
    ],
    atLeast: 1,
  }
}

function entryOf(numbers: ReadonlyMap<string, number>, name: string): [string, number][] {
  const number = numbers.get(name)
  return number === undefined ? [] : [[name, number]]
}

/** Every name with its number: those that are kept keep theirs, the others get numbers that none before had. */
function numbered(
  names: readonly string[],
  kept: ReadonlyMap<string, number>,
  before: ReadonlyMap<string, number>,
): Map<string, number> {
  let last = Math.max(-1, ...before.values())
  return new Map(names.map((name) => [name, kept.get(name) ?? ++last]))
}

function addKey(table: DocumentTable, path: string, number: number): Step {
  // A field path holds no apostrophe.
  const key = keyOfField(`'${jsonPathOf(path)}'`)
  return { sql: `ALTER TABLE ${docsOf(table)} ADD COLUMN ${keyColumn(number)} GENERATED ALWAYS AS (${key}) VIRTUAL` }
}

function dropKey(table: DocumentTable, number: number): Step {
  return { sql: `ALTER TABLE ${docsOf(table)} DROP COLUMN ${keyColumn(number)}` }
}

/**
 * The index that queries use, and for a unique one a second that enforces it: partial, so that documents without a value take no
 * part, which is also why SQLite would not use it for a query.
 */
function createIndex(table: DocumentTable, { name, fields, unique }: IndexRule): Step[] {
  const number = table.indexes.get(name)
  if (number === undefined) throw new TypeError(`index ${name} has no number`)
  const columns = keyColumns(table, fields)
  const on = `ON ${docsOf(table)} (${columns.join(', ')})`
  const query = { sql: `CREATE INDEX ${indexOf(table, number)} ${on}` }
  if (!unique) return [query]
  const where = columns.map((column) => `${column} < ${FIRST_NOT_UNIQUE}`).join(' AND ')
  return [query, { sql: `CREATE UNIQUE INDEX ${uniqueIndexOf(table, number)} ${on} WHERE ${where}` }]
}

function dropIndex(table: DocumentTable, number: number): Step[] {
  return [indexOf(table, number), uniqueIndexOf(table, number)].map((name) => ({ sql: `DROP INDEX IF EXISTS ${name}` }))
}

function keyColumns(table: DocumentTable, fields: readonly string[]): string[] {
  return fields.map((path) => {
    const number = table.keys.get(path)
    if (number === undefined) throw new TypeError(`field ${path} has no key column`)
    return keyColumn(number)
  })
}

function indexOf(table: DocumentTable, number: number): string {
  return `${docsOf(table)}_index_${number}`
}

function uniqueIndexOf(table: DocumentTable, number: number): string {
  return `${docsOf(table)}_unique_${number}`
}
