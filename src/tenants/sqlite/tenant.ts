/** One open tenant in a SQLite file: who waits for whom, and which errors come of what the file says. */
import { type Findings, type SqliteStore, StatementError, type StoreStats, type VerifyOptions } from '../../native.js'
import type { Operation, OperationResult, StoredDocument } from '../contract.js'
import { schemaOf } from '../documents.js'
import { IdGenerator, parseDocumentId } from '../ids.js'
import { KeyedLocks, TableGates } from '../locks.js'
import type { ServedTenant } from '../files/engine.js'
import type { Locate, Prepare, Selected } from '../open-tenant.js'
import { documentNotFound, insertedTables, keyOf, notUnique } from '../planner.js'
import type { TableSchema } from '../schema.js'
import { stricterFields } from '../schema-change.js'
import { Catalog } from './catalog.js'
import { checkLayout, readCreatedAt } from './layout.js'
import { readDocument, readSelection } from './reads.js'
import { planSchemaChange } from './schema-change.js'
import { type DocumentTable, newestMsSql } from './table.js'
import { requireNoViolation } from './violations.js'
import { explainFailure, planWrites } from './writes.js'

export class SqliteTenant implements ServedTenant {
  readonly store: SqliteStore
  readonly catalog: Catalog
  readonly #ids = new Map<number, IdGenerator>()
  readonly #documents = new KeyedLocks()
  readonly #tables = new TableGates()

  private constructor(store: SqliteStore, catalog: Catalog) {
    this.store = store
    this.catalog = catalog
  }

  /** @throws `file_corrupt`, `unsupported_for_provider` for a file of another kind or of a later version */
  static load(store: SqliteStore, path: string): SqliteTenant {
    checkLayout(store, path)
    return new SqliteTenant(store, Catalog.load(store, path))
  }

  get isSpent(): boolean {
    return this.catalog.isDoubtful
  }

  get createdAt(): number {
    return readCreatedAt(this.store)
  }

  get stats(): StoreStats {
    return this.store.stats
  }

  verify(options: VerifyOptions): Promise<Findings> {
    return this.store.verify(options)
  }

  async close(): Promise<void> {
    await this.store.close()
  }

  find(table: string): DocumentTable | undefined {
    return this.catalog.find(table)
  }

  get(tableName: string, id: string): StoredDocument {
    const table = this.catalog.find(tableName)
    const parsed = parseDocumentId(id)
    const document = table && parsed && readDocument(this.store, table, parsed)
    if (document === undefined) throw documentNotFound(tableName)
    return document
  }

  async write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]> {
    const tables = [...new Set(operations.map((operation) => operation.table))]
    const written = operations.flatMap((operation) => (operation.op === 'insert' ? [] : [lockOf(operation)]))
    return this.#tables.shared(tables, () =>
      this.#documents.run([...new Set(written)], async () => {
        for (const table of insertedTables(operations)) {
          if (this.catalog.find(table) === undefined) await this.catalog.ensure(table)
        }
        const plan = planWrites(this, operations, Date.now(), locate)
        try {
          await this.store.write(plan.steps)
        } catch (error) {
          throw explainFailure(error, plan, locate)
        }
        return plan.results
      }),
    )
  }

  async select(name: string, prepare: Prepare, wanted: number): Promise<Selected> {
    for (;;) {
      const table = this.catalog.find(name)
      const prepared = prepare(table?.schema)
      if (table === undefined) return { ...prepared, answer: { documents: [], isCut: false } }
      try {
        const answer = await readSelection(this.store, table, prepared, wanted)
        // A schema that changed meanwhile may have given a key column's number to another field: only what was read by the
        // table's present state counts.
        if (this.catalog.find(name) === table) return { ...prepared, answer }
      } catch (error) {
        if (!(error instanceof StatementError)) throw error
        // Or it took a key column away with its index.
        await this.#tables.shared([name], async () => undefined)
        if (this.catalog.find(name) === table) throw error
      }
    }
  }

  async putSchema(name: string, schema: TableSchema): Promise<void> {
    await this.#tables.exclusive(name, async () => {
      const present = await this.catalog.ensure(name)
      await requireNoViolation(this.store, present, stricterFields(present.schema, schema))
      await this.#changeSchema(present, schema)
    })
  }

  async deleteSchema(name: string): Promise<void> {
    await this.#tables.exclusive(name, async () => {
      const present = this.catalog.find(name)
      schemaOf(present, name)
      if (present !== undefined) await this.#changeSchema(present, undefined)
    })
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

  async #changeSchema(table: DocumentTable, schema: TableSchema | undefined): Promise<void> {
    const change = planSchemaChange(table, schema)
    try {
      await this.catalog.apply(change)
    } catch (error) {
      const index = error instanceof StatementError ? change.builds.get(error.step) : undefined
      if (index === undefined || !(error instanceof StatementError) || error.kind !== 'constraint_unique') throw error
      throw notUnique(index, error)
    }
  }
}

function lockOf({ table, id }: { readonly table: string; readonly id: string }): string {
  return keyOf({ table, id: parseDocumentId(id)?.text ?? '' })
}
