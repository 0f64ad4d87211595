/** One open tenant in a redb file: who waits for whom, and which errors come of what the file says. */
import { type OpenFile, openFileOf } from '../../encryption/status.js'
import type { Findings, KvStore, VerifyOptions } from '../../native.js'
import type { Operation, OperationResult, StoredDocument } from '../contract.js'
import { schemaOf } from '../documents.js'
import type { ServedTenant } from '../files/engine.js'
import { parseDocumentId } from '../ids.js'
import { TableGates } from '../locks.js'
import { type Locate, type Prepare, type Selected, TenantSpentError } from '../open-tenant.js'
import { documentNotFound } from '../planner.js'
import type { TableSchema } from '../schema.js'
import { Catalog } from './catalog.js'
import { Faults } from './faults.js'
import { readDocument } from './ground.js'
import { documentKey } from './keys.js'
import { readLayout } from './layout.js'
import { readSelection } from './reads.js'
import { changeSchema } from './schema-change.js'
import { Source } from './source.js'
import type { DocumentTable } from './table.js'
import { Writer } from './writer.js'

export class RedbTenant implements ServedTenant {
  readonly createdAt: number
  readonly #store: KvStore
  readonly #path: string
  readonly #catalog: Catalog
  readonly #faults: Faults
  readonly #writer: Writer
  readonly #tables = new TableGates()
  /** Those of schemas, which do not go through the writer. */
  #commits = 0

  private constructor(store: KvStore, path: string, createdAt: number, catalog: Catalog) {
    this.#store = store
    this.#path = path
    this.createdAt = createdAt
    this.#catalog = catalog
    this.#faults = new Faults(path)
    this.#writer = new Writer(store, catalog, this.#faults, path)
  }

  /** @throws `file_corrupt`, `unsupported_for_provider` for a file of another kind or of a later version */
  static async load(store: KvStore, path: string): Promise<RedbTenant> {
    const snapshot = store.snapshot()
    try {
      const createdAt = readLayout(snapshot, path)
      return new RedbTenant(store, path, createdAt, await Catalog.load(store, snapshot, path))
    } catch (error) {
      throw new Faults(path).ofWrite(error)
    } finally {
      snapshot.close()
    }
  }

  get isSpent(): boolean {
    return this.#faults.cause !== undefined
  }

  get stats(): Writer['stats'] {
    const { commits, requests, ...waiting } = this.#writer.stats
    return { commits: commits + this.#commits, requests: requests + this.#commits, ...waiting }
  }

  get openFile(): OpenFile {
    return openFileOf(this.#store.stats)
  }

  verify(options: VerifyOptions): Promise<Findings> {
    return this.#store.verify(options)
  }

  async close(): Promise<void> {
    await this.#store.close()
  }

  find(table: string): DocumentTable | undefined {
    return this.#catalog.find(table)
  }

  get(tableName: string, id: string): StoredDocument {
    const table = this.#catalog.find(tableName)
    const parsed = parseDocumentId(id)
    const document =
      table && parsed && this.#read(() => readDocument(this.#store, table, documentKey(parsed), this.#path))
    if (document === undefined || document.id !== parsed?.text) throw documentNotFound(tableName)
    return document
  }

  async write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]> {
    const tables = [...new Set(operations.map((operation) => operation.table))]
    return this.#tables.shared(tables, () => this.#writer.write(operations, locate))
  }

  async select(name: string, prepare: Prepare, wanted: number): Promise<Selected> {
    const snapshot = this.#read(() => this.#store.snapshot())
    try {
      const table = this.#catalog.at(snapshot, name)
      const prepared = prepare(table?.schema)
      if (table === undefined) return { ...prepared, answer: { documents: [], isCut: false } }
      const answer = await readSelection(new Source(snapshot, table, this.#path), prepared, wanted)
      return { ...prepared, answer }
    } catch (error) {
      throw this.#faults.ofRead(error)
    } finally {
      snapshot.close()
    }
  }

  async putSchema(name: string, schema: TableSchema): Promise<void> {
    await this.#tables.exclusive(name, async () => {
      await this.#changeSchema(this.#catalog.find(name) ?? this.#catalog.newTable(name, 0), schema)
    })
  }

  async deleteSchema(name: string): Promise<void> {
    await this.#tables.exclusive(name, async () => {
      const present = this.#catalog.find(name)
      schemaOf(present, name)
      if (present !== undefined) await this.#changeSchema(present, undefined)
    })
  }

  async #changeSchema(table: DocumentTable, schema: TableSchema | undefined): Promise<void> {
    const { cause } = this.#faults
    if (cause !== undefined) throw new TenantSpentError(cause)
    try {
      await changeSchema(this.#store, this.#catalog, this.#path, table, schema)
      this.#commits += 1
    } catch (error) {
      throw this.#faults.ofWrite(error)
    }
  }

  #read<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      throw this.#faults.ofRead(error)
    }
  }
}
