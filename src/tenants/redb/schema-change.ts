/** From one schema of a table to the next: documents checked, indexes built beside those that are there, then all at once. */
import type { KvOperation, KvStore } from '../../native.js'
import { parseDocumentId } from '../ids.js'
import { notUnique } from '../planner.js'
import type { TableSchema } from '../schema.js'
import { isKept, requireStored, stricterFields } from '../schema-change.js'
import type { Catalog } from './catalog.js'
import { documentKey, takesPart, valuesOf } from './keys.js'
import { EVERYTHING } from './route.js'
import { Source } from './source.js'
import { type DocumentTable, type IndexState, documentTable, tableOperation, valuesIn } from './table.js'

/** Entries that are written together while an index is built, each of its own length: what a build holds in memory. */
const SLICE_ENTRIES = 4096
const SLICE_BYTES = 1_048_576

/**
 * The caller keeps writers of the table away. New indexes are filled piece by piece under numbers that no catalog names yet,
 * not durable; the one write that enters the schema into the catalog makes them so, and drops the old ones. A crash before it
 * leaves entries of nothing, which the next opening of the tenant drops.
 *
 * @throws `schema_violation`, `unique_violation`; what was built is then dropped again
 */
export async function changeSchema(
  store: KvStore,
  catalog: Catalog,
  path: string,
  before: DocumentTable,
  schema: TableSchema | undefined,
): Promise<void> {
  const after = nextState(catalog, before, schema)
  const old = new Set(before.indexes.map(({ number }) => number))
  const kept = new Set(after.indexes.map(({ number }) => number))
  const fresh = after.indexes.filter(({ number }) => !old.has(number))
  try {
    await fill(store, before, after, fresh, path)
  } catch (error) {
    await discard(store, fresh)
    throw error
  }
  const dropTables = before.indexes.filter(({ number }) => !kept.has(number)).map(({ entries }) => entries)
  await store.write([tableOperation(after)], { dropTables })
  catalog.set(after)
}

/** Indexes that stay as they were keep their numbers, and so their entries. */
function nextState(catalog: Catalog, before: DocumentTable, schema: TableSchema | undefined): DocumentTable {
  const old = new Map(before.indexes.map(({ name, number }) => [name, number]))
  const numbers = new Map(
    (schema?.indexes ?? []).map((rule) => {
      const number = isKept(before.schema, rule) ? old.get(rule.name) : undefined
      return [rule.name, number ?? catalog.newIndexNumber()]
    }),
  )
  return documentTable(before.number, before.name, schema, numbers)
}

async function fill(
  store: KvStore,
  before: DocumentTable,
  { schema }: DocumentTable,
  fresh: readonly IndexState[],
  path: string,
): Promise<void> {
  const rules = schema === undefined ? new Map() : stricterFields(before.schema, schema)
  if (rules.size === 0 && fresh.length === 0) return
  const snapshot = store.snapshot()
  try {
    const source = new Source(snapshot, before, path)
    let slice: KvOperation[] = []
    let bytes = 0
    for await (const document of source.documents(EVERYTHING, false)) {
      const fields = source.fieldsOf(document)
      requireStored(document.id, fields, rules)
      for (const index of fresh) {
        const key = Buffer.concat([valuesIn(index, fields).values, keyOf(document.id)])
        slice.push({ table: index.entries, key, value: NOTHING })
        bytes += key.length
      }
      if (slice.length < SLICE_ENTRIES && bytes < SLICE_BYTES) continue
      await store.write(slice, { durability: 'eventual' })
      slice = []
      bytes = 0
    }
    if (slice.length > 0) await store.write(slice, { durability: 'eventual' })
  } finally {
    snapshot.close()
  }
  for (const index of fresh) if (index.unique) await requireUnique(store, before, index, path)
}

/** Equal values lie side by side. */
async function requireUnique(store: KvStore, table: DocumentTable, index: IndexState, path: string): Promise<void> {
  const snapshot = store.snapshot()
  try {
    let last: Buffer | undefined
    for await (const entry of new Source(snapshot, table, path).entries({ index, span: EVERYTHING }, false)) {
      const values = valuesOf(entry)
      if (last?.equals(values) && takesPart(values)) throw notUnique(index.name)
      last = values
    }
  } finally {
    snapshot.close()
  }
}

/** What cannot be dropped now, of a disk that fails, the next opening drops: the error to report is the one before. */
async function discard(store: KvStore, indexes: readonly IndexState[]): Promise<void> {
  if (indexes.length === 0) return
  await Promise.allSettled([store.write([], { dropTables: indexes.map(({ entries }) => entries) })])
}

const NOTHING = new Uint8Array(0)

function keyOf(id: string): Buffer {
  const parsed = parseDocumentId(id)
  if (parsed === undefined) throw new TypeError('a stored document has an id that is none')
  return documentKey(parsed)
}
