/** One open tenant: its store, its catalog, and the ids that its tables give out next. */
import type { SqliteStore } from '../../native.js'
import { IdGenerator } from '../ids.js'
import { Catalog } from './catalog.js'
import { checkLayout } from './layout.js'
import { type DocumentTable, newestMsSql } from './table.js'

export class OpenTenant {
  readonly store: SqliteStore
  readonly catalog: Catalog
  readonly #ids = new Map<number, IdGenerator>()

  private constructor(store: SqliteStore, catalog: Catalog) {
    this.store = store
    this.catalog = catalog
  }

  /** @throws `file_corrupt`, `unsupported_for_provider` for a file of another kind or of a later version */
  static load(store: SqliteStore, path: string): OpenTenant {
    checkLayout(store, path)
    return new OpenTenant(store, Catalog.load(store, path))
  }

  /** Its ids follow those in the file, also if the clock was ahead when they were made. */
  idsOf(table: DocumentTable): IdGenerator {
    let ids = this.#ids.get(table.id)
    if (ids === undefined) {
      ids = new IdGenerator()
      const newest = this.store.get(newestMsSql(table), [])?.[0]
      if (typeof newest === 'number') ids.skip(newest)
      this.#ids.set(table.id, ids)
    }
    return ids
  }
}
