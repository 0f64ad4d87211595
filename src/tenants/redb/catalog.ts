/** The tables of one open tenant, in memory as they are in its file: nobody else writes to it while it is open. */
import type { KvBound, KvSnapshot, KvStore } from '../../native.js'
import { requireRoom } from '../open-tenant.js'
import { CATALOG_TABLE, isEntries } from './layout.js'
import { type DocumentTable, decodeTable, documentTable, encodeTable } from './table.js'

const CATALOG_BATCH = { limit: 100, mostBytes: 1_048_576 }

export class Catalog {
  readonly #path: string
  /** As of the last change that was acknowledged, with their entries in the file. */
  readonly #tables = new Map<string, { readonly table: DocumentTable; readonly stored: Buffer }>()
  #lastTable = 0
  #lastIndex = 0

  private constructor(path: string) {
    this.#path = path
  }

  /** Removes what is left of interrupted changes of a schema. @throws `file_corrupt` */
  static async load(store: KvStore, snapshot: KvSnapshot, path: string): Promise<Catalog> {
    const catalog = new Catalog(path)
    let from: KvBound = { key: new Uint8Array(0), inclusive: true }
    for (let hasMore = true; hasMore;) {
      const batch = await snapshot.rangeAsync(CATALOG_TABLE, { from, ...CATALOG_BATCH })
      for (const [key, stored] of batch.pairs) catalog.set(decodeTable(Buffer.from(key).toString(), stored, path))
      const last = batch.pairs.at(-1)
      hasMore = batch.hasMore && last !== undefined
      if (last !== undefined) from = { key: last[0], inclusive: false }
    }
    const known = new Set(
      Array.from(catalog.#tables.values(), ({ table }) => table.indexes.map(({ entries }) => entries)).flat(),
    )
    const abandoned = snapshot.tables().filter((name) => isEntries(name) && !known.has(name))
    if (abandoned.length > 0) await store.write([], { dropTables: abandoned })
    return catalog
  }

  /** `undefined` if the table was never made. */
  find(name: string): DocumentTable | undefined {
    return this.#tables.get(name)?.table
  }

  /** The table as a snapshot has it: a change that is committed and not yet acknowledged is in there already. */
  at(snapshot: Pick<KvSnapshot, 'get'>, name: string): DocumentTable | undefined {
    const stored = snapshot.get(CATALOG_TABLE, Buffer.from(name))
    if (stored === undefined) return undefined
    const known = this.#tables.get(name)
    return known?.stored.equals(stored) ? known.table : decodeTable(name, stored, this.#path)
  }

  /** After the table was stored. */
  set(table: DocumentTable): void {
    this.#tables.set(table.name, { table, stored: encodeTable(table) })
    this.#lastTable = Math.max(this.#lastTable, table.number)
    this.#lastIndex = Math.max(this.#lastIndex, ...table.indexes.map(({ number }) => number))
  }

  /** A table to be stored, beside `making` others. @throws `invalid_request` if the tenant has too many */
  newTable(name: string, making: number): DocumentTable {
    requireRoom(this.#tables.size + making)
    return documentTable(++this.#lastTable, name, undefined, new Map())
  }

  /** One that no index has had since the tenant was opened. */
  newIndexNumber(): number {
    return ++this.#lastIndex
  }
}
