/** The document contract on a SQLite file: who waits for whom, and which errors come of what the file says. */
import { NimbusError } from '../../errors.js'
import { StatementError } from '../../native.js'
import type { DocumentPage, Operation, OperationResult, PageRequest, StoredDocument, TenantStore } from '../contract.js'
import { decodeCursor, encodeCursor } from '../cursor.js'
import { parseDocumentId } from '../ids.js'
import { type JsonObject, checkFields } from '../json.js'
import { KeyedLocks, TableGates } from '../locks.js'
import {
  type CheckedSelection,
  type Query,
  type Selection,
  checkLimit,
  checkSelection,
  checkTableName,
} from '../query.js'
import { type TableSchema, type TableSchemaInput, checkSchema } from '../schema.js'
import { decodePosition, encodePosition } from '../sort-key.js'
import type { OpenTenant } from './open-tenant.js'
import { type Answer, positionOf, readSelection } from './reads.js'
import { planSchemaChange, stricterFields } from './schema-change.js'
import type { DocumentTable } from './table.js'
import { requireNoViolation } from './violations.js'
import { type Locate, explainFailure, keyOf, planWrites, readDocument } from './writes.js'

const MAX_OPERATIONS = 1_000

/** Where an open tenant comes from, and how long it may be used: while `use` runs, or until `peek`'s caller lets go of the thread. */
export interface Access {
  use<R>(work: (tenant: OpenTenant) => Promise<R>): Promise<R>
  peek(): OpenTenant | undefined
}

export class SqliteTenant implements TenantStore {
  readonly #access: Access
  readonly #documents = new KeyedLocks()
  readonly #tables = new TableGates()

  constructor(access: Access) {
    this.#access = access
  }

  async insert(table: string, fields: JsonObject): Promise<StoredDocument> {
    return documentOf(await this.#write([{ op: 'insert', table, fields }], unlocated))
  }

  get(table: string, id: string): StoredDocument | Promise<StoredDocument> {
    checkTableName(table)
    const tenant = this.#access.peek()
    if (tenant !== undefined) return readDocument(tenant, table, id)
    return this.#access.use(async (opened) => readDocument(opened, table, id))
  }

  async patch(table: string, id: string, fields: JsonObject, ifVersion?: number): Promise<StoredDocument> {
    return documentOf(await this.#write([{ op: 'update', table, id, fields, ifVersion }], unlocated))
  }

  async delete(table: string, id: string, ifVersion?: number): Promise<void> {
    await this.#write([{ op: 'delete', table, id, ifVersion }], unlocated)
  }

  async transact(operations: readonly Operation[]): Promise<OperationResult[]> {
    if (operations.length === 0 || operations.length > MAX_OPERATIONS) {
      throw new NimbusError('invalid_request', `operations must be 1 to ${MAX_OPERATIONS}`, { path: 'operations' })
    }
    return this.#write(operations, atOperation)
  }

  async list(table: string, page: PageRequest): Promise<DocumentPage> {
    return this.#page({ table }, page, 'limit')
  }

  async queryPage(selection: Selection, page: PageRequest): Promise<DocumentPage> {
    return this.#page(selection, page, 'page_size')
  }

  async query(query: Query): Promise<StoredDocument[]> {
    const limit = checkLimit(query.limit, 'limit')
    const read = await this.#read(query, undefined, limit)
    if (!read.answer.isCut) return read.answer.documents
    throw new NimbusError('invalid_request', 'the result is larger than 16 MiB', {
      path: 'limit',
      remediation: 'Ask for fewer documents at a time, or for pages: POST .../query/paginated.',
    })
  }

  async putSchema(table: string, input: TableSchemaInput): Promise<TableSchema> {
    checkTableName(table)
    const schema = checkSchema(input)
    await this.#changeSchema(table, async (tenant) => {
      const present = await tenant.catalog.ensure(table)
      await requireNoViolation(tenant.store, present, stricterFields(present.schema, schema))
      await changeSchema(tenant, present, schema)
    })
    return schema
  }

  getSchema(table: string): TableSchema | Promise<TableSchema> {
    checkTableName(table)
    const tenant = this.#access.peek()
    if (tenant !== undefined) return schemaOf(tenant.catalog.find(table), table)
    return this.#access.use(async (opened) => schemaOf(opened.catalog.find(table), table))
  }

  async deleteSchema(table: string): Promise<void> {
    checkTableName(table)
    await this.#changeSchema(table, async (tenant) => {
      const present = tenant.catalog.find(table)
      schemaOf(present, table)
      if (present !== undefined) await changeSchema(tenant, present, undefined)
    })
  }

  async #write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]> {
    for (const [index, operation] of operations.entries()) checkOperation(operation, index, locate)
    const tables = [...new Set(operations.map((operation) => operation.table))]
    const written = operations.flatMap((operation) => (operation.op === 'insert' ? [] : [lockOf(operation)]))
    const inserted = new Set(operations.flatMap((operation) => (operation.op === 'insert' ? [operation.table] : [])))
    return this.#access.use((tenant) =>
      this.#tables.shared(tables, () =>
        this.#documents.run([...new Set(written)], async () => {
          for (const table of inserted) if (tenant.catalog.find(table) === undefined) await tenant.catalog.ensure(table)
          const plan = planWrites(tenant, operations, Date.now(), locate)
          try {
            await tenant.store.write([...plan.steps])
          } catch (error) {
            throw explainFailure(error, plan, locate)
          }
          return [...plan.results]
        }),
      ),
    )
  }

  async #changeSchema(table: string, change: (tenant: OpenTenant) => Promise<void>): Promise<void> {
    await this.#access.use((tenant) => this.#tables.exclusive(table, () => change(tenant)))
  }

  async #page(selection: Selection, page: PageRequest, limitName: 'limit' | 'page_size'): Promise<DocumentPage> {
    const limit = checkLimit(page.limit, limitName)
    const { checked, answer } = await this.#read(selection, page.after, limit + 1)
    const documents = answer.documents.slice(0, limit)
    const last = documents.at(-1)
    const hasMore = answer.isCut || answer.documents.length > limit
    const nextCursor =
      hasMore && last !== undefined ? encodeCursor(checked.shape, encodePosition(positionOf(last, checked))) : null
    return { documents, nextCursor }
  }

  async #read(
    selection: Selection,
    after: string | undefined,
    wanted: number,
  ): Promise<{ checked: CheckedSelection; answer: Answer }> {
    const { table: name } = selection
    checkTableName(name)
    return this.#access.use(async (tenant) => {
      for (;;) {
        const table = tenant.catalog.find(name)
        const checked = checkSelection(selection, table?.schema)
        const isByField = checked.orderBy !== undefined
        const position = after === undefined ? undefined : decodePosition(decodeCursor(checked.shape, after), isByField)
        if (table === undefined) return { checked, answer: { documents: [], isCut: false } }
        try {
          const answer = await readSelection(tenant, table, checked, position, wanted)
          // A schema that changed meanwhile may have given a key column's number to another field: only what was read by the
          // table's present state counts.
          if (tenant.catalog.find(name) === table) return { checked, answer }
        } catch (error) {
          if (!(error instanceof StatementError)) throw error
          // Or it took a key column away with its index.
          await this.#tables.shared([name], async () => undefined)
          if (tenant.catalog.find(name) === table) throw error
        }
      }
    })
  }
}

async function changeSchema(tenant: OpenTenant, table: DocumentTable, schema: TableSchema | undefined): Promise<void> {
  const change = planSchemaChange(table, schema)
  try {
    await tenant.catalog.apply(change)
  } catch (error) {
    const index = error instanceof StatementError ? change.builds.get(error.step) : undefined
    if (index === undefined || !(error instanceof StatementError) || error.kind !== 'constraint_unique') throw error
    throw new NimbusError('unique_violation', `documents share a value in what was to be the unique index ${index}`, {
      detail: { index },
      cause: error,
    })
  }
}

function checkOperation(operation: Operation, index: number, locate: Locate): void {
  try {
    checkTableName(operation.table)
    if (operation.op !== 'delete') checkFields(operation.fields)
    if (operation.op !== 'insert') checkVersion(operation.ifVersion)
  } catch (error) {
    throw error instanceof NimbusError ? locate(error, index) : error
  }
}

function checkVersion(version: number | undefined): void {
  if (version === undefined || (Number.isSafeInteger(version) && version >= 1)) return
  throw new NimbusError('invalid_request', 'if_version is not a positive integer', { path: 'if_version' })
}

function lockOf({ table, id }: { readonly table: string; readonly id: string }): string {
  return keyOf({ table, id: parseDocumentId(id)?.text ?? '' })
}

const unlocated: Locate = (error) => error

const atOperation: Locate = ({ code, message, remediation, path, detail, cause }, operation) =>
  new NimbusError(code, `operation ${operation}: ${message}`, {
    remediation,
    path,
    detail: { ...detail, operation },
    cause,
  })

function documentOf([result]: readonly OperationResult[]): StoredDocument {
  if (result === undefined || result.op === 'delete') throw new TypeError('a write of one document has one document')
  return result.document
}

function schemaOf(table: DocumentTable | undefined, name: string): TableSchema {
  if (table?.schema !== undefined) return table.schema
  throw new NimbusError('document_not_found', `table ${name} has no schema`, {
    remediation: 'Make one with PUT /api/tenants/:tenant/schema/:table.',
  })
}
