/** What a tenant's file says of itself, and which redb tables there are in it. */
import type { KvOperation, KvSnapshot } from '../../native.js'
import { laterLayout, notATenant } from '../files/engine.js'
import { type JsonObject, isJsonObject, parseJson } from '../json.js'

/**
 * | table       | key                                           | value                                                         |
 * |-------------|-----------------------------------------------|---------------------------------------------------------------|
 * | `nimbus`    | `tenant`                                      | JSON: `{"layout":1,"created_at":<milliseconds since 1970>}`   |
 * | `tables`    | a document table's name                       | JSON: `{"number","schema","indexes"}` (`table.ts`)            |
 * | `docs/<n>`  | a `documentKey`                               | a document (`record.ts`)                                      |
 * | `index/<n>` | a `valueKey` for each field, a `documentKey`  | nothing                                                       |
 *
 * Every document has an entry in every index of its table. An index that no entry of `tables` names is one whose making was
 * interrupted.
 */
const TENANT_TABLE = 'nimbus'
const TENANT_KEY = Buffer.from('tenant')
/** A version of nimbus reads the layouts up to its own and refuses later ones. */
const LAYOUT_VERSION = 1

export const CATALOG_TABLE = 'tables'
const INDEX_PREFIX = 'index/'

export function docsOf(table: number): string {
  return `docs/${table}`
}

export function entriesOf(index: number): string {
  return `${INDEX_PREFIX}${index}`
}

export function isEntries(table: string): boolean {
  return table.startsWith(INDEX_PREFIX)
}

export function layoutOperation(createdAt: number): KvOperation {
  const value = Buffer.from(JSON.stringify({ layout: LAYOUT_VERSION, created_at: createdAt }))
  return { table: TENANT_TABLE, key: TENANT_KEY, value }
}

/** When the tenant was created. @throws `file_corrupt` for a file of another kind, `unsupported_for_provider` for a later layout */
export function readLayout(snapshot: Pick<KvSnapshot, 'get'>, path: string): number {
  const stored = snapshot.get(TENANT_TABLE, TENANT_KEY)
  const { layout, created_at: createdAt } = stored === undefined ? {} : decodeObject(stored)
  if (typeof layout !== 'number' || typeof createdAt !== 'number') throw notATenant(path, 'it does not say its layout')
  if (layout === LAYOUT_VERSION) return createdAt
  throw laterLayout(path, layout, LAYOUT_VERSION)
}

/** What a stored JSON object says; nothing, if it is none. */
export function decodeObject(stored: Uint8Array): JsonObject {
  try {
    const value = parseJson(Buffer.from(stored).toString())
    return isJsonObject(value) ? value : {}
  } catch {
    return {}
  }
}
