/** A tenant provider in memory, just enough to test what the HTTP routes themselves do. */
import { NimbusError } from '../../src/errors.js'
import type {
  DocumentPage,
  Operation,
  OperationResult,
  StoredDocument,
  TenantInfo,
  TenantPage,
  TenantProvider,
  TenantStats,
  TenantStore,
} from '../../src/tenants/contract.js'
import type { Findings } from '../../src/native.js'
import type { FileStatus } from '../../src/encryption/status.js'
import type { JsonObject } from '../../src/tenants/json.js'
import type { TableSchema } from '../../src/tenants/schema.js'
import { parseTenantId } from '../../src/keys/subject.js'

const CREATED_AT = Date.UTC(2026, 0, 31, 9, 30)

/** Public members are for tests to turn: what the next write does, and how much waits. */
export class MemoryTenants implements TenantProvider {
  readonly name = 'sqlite'
  queuedBytes = 0
  /** Awaited by every write. */
  gate = async (): Promise<void> => {}
  readonly #stores = new Map<string, MemoryStore>()

  async start(): Promise<[]> {
    return []
  }

  ids(): string[] {
    return [...this.#stores.keys()]
  }

  async create(id: string): Promise<TenantInfo> {
    if (this.#stores.has(parseTenantId(id))) throw new NimbusError('tenant_exists', `tenant ${id} exists`)
    this.#stores.set(id, new MemoryStore(this))
    return { id, provider: this.name, encrypted: true, createdAt: CREATED_AT }
  }

  async delete(id: string): Promise<void> {
    this.open(id)
    this.#stores.delete(id)
  }

  async list(): Promise<TenantPage> {
    const tenants = [...this.#stores.keys()].sort()
    return {
      tenants: tenants.map((id) => ({ id, provider: this.name, encrypted: true, createdAt: CREATED_AT })),
      nextCursor: null,
    }
  }

  open(id: string): TenantStore {
    const store = this.#stores.get(parseTenantId(id))
    if (store === undefined) throw new NimbusError('tenant_not_found', `there is no tenant ${id}`)
    return store
  }

  async verify(): Promise<Findings> {
    return { pages: 1, logPages: 0, damaged: [], unreferenced: [] }
  }

  async files(): Promise<FileStatus[]> {
    return []
  }

  stats(): TenantStats {
    const tenants = this.#stores.size
    return { tenants, openTenants: tenants, commits: 3, requests: 5, queued: 0, queuedBytes: this.queuedBytes }
  }

  async close(): Promise<void> {}
}

class MemoryStore implements TenantStore {
  readonly #tenants: MemoryTenants
  readonly #documents = new Map<string, StoredDocument>()
  readonly #schemas = new Map<string, TableSchema>()
  #count = 0

  constructor(tenants: MemoryTenants) {
    this.#tenants = tenants
  }

  async insert(table: string, fields: JsonObject): Promise<StoredDocument> {
    await this.#tenants.gate()
    const id = `00000000-0000-7000-8000-${String(++this.#count).padStart(12, '0')}`
    const document = {
      id,
      table,
      version: 1,
      createdAt: CREATED_AT,
      updatedAt: CREATED_AT,
      fieldsJson: JSON.stringify(fields),
    }
    this.#documents.set(id, document)
    return document
  }

  get(_table: string, id: string): StoredDocument {
    const document = this.#documents.get(id)
    if (document === undefined) throw new NimbusError('document_not_found', `there is no document ${id}`)
    return document
  }

  async patch(table: string, id: string, fields: JsonObject, ifVersion?: number): Promise<StoredDocument> {
    await this.#tenants.gate()
    const old = this.get(table, id)
    if (ifVersion !== undefined && ifVersion !== old.version) throw new NimbusError('version_conflict', 'it is older')
    const merged: unknown = { ...JSON.parse(old.fieldsJson), ...fields }
    const document = { ...old, version: old.version + 1, fieldsJson: JSON.stringify(merged) }
    this.#documents.set(id, document)
    return document
  }

  async delete(table: string, id: string): Promise<void> {
    this.get(table, id)
    this.#documents.delete(id)
  }

  async list(): Promise<DocumentPage> {
    return { documents: [...this.#documents.values()], nextCursor: null }
  }

  async query(): Promise<StoredDocument[]> {
    return [...this.#documents.values()]
  }

  async queryPage(): Promise<DocumentPage> {
    return { documents: [...this.#documents.values()], nextCursor: 'more' }
  }

  async putSchema(table: string, schema: TableSchema): Promise<TableSchema> {
    this.#schemas.set(table, schema)
    return schema
  }

  getSchema(table: string): TableSchema {
    const schema = this.#schemas.get(table)
    if (schema === undefined) throw new NimbusError('document_not_found', `table ${table} has no schema`)
    return schema
  }

  async deleteSchema(table: string): Promise<void> {
    this.#schemas.delete(table)
  }

  async transact(operations: readonly Operation[]): Promise<OperationResult[]> {
    const results: OperationResult[] = []
    for (const operation of operations) {
      const { op, table } = operation
      if (op === 'insert') results.push({ op, document: await this.insert(table, operation.fields) })
      else if (op === 'update') results.push({ op, document: await this.patch(table, operation.id, operation.fields) })
      else {
        await this.delete(table, operation.id)
        results.push({ op, table, id: operation.id })
      }
    }
    return results
  }
}
