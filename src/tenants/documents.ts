/** The document contract on a tenant of a local file: what a request may say, and which page of an answer it gets. */
import { NimbusError } from '../errors.js'
import type { DocumentPage, Operation, OperationResult, PageRequest, StoredDocument, TenantStore } from './contract.js'
import { decodeCursor, encodeCursor } from './cursor.js'
import { readField } from './field-path.js'
import { type JsonObject, checkFields, parseFields } from './json.js'
import { type Locate, type OpenTenant, type Selected, type TableState, TenantSpentError } from './open-tenant.js'
import {
  type CheckedSelection,
  type Query,
  type Selection,
  checkLimit,
  checkSelection,
  checkTableName,
} from './query.js'
import { type TableSchema, type TableSchemaInput, checkSchema } from './schema.js'
import { type Position, decodePosition, encodePosition, sortKeyOf } from './sort-key.js'

const MAX_OPERATIONS = 1_000
/** Each is a tenant that was opened anew, and failed once more before this request had its turn. */
const MAX_ATTEMPTS = 8

/** Where an open tenant comes from, and how long it may be used: while `use` runs, or until `peek`'s caller lets go of the thread. */
export interface Access {
  use<R>(work: (tenant: OpenTenant) => Promise<R>): Promise<R>
  peek(): OpenTenant | undefined
}

export class Documents implements TenantStore {
  readonly #access: Access

  constructor(access: Access) {
    this.#access = access
  }

  async insert(table: string, fields: JsonObject): Promise<StoredDocument> {
    return documentOf(await this.#write([{ op: 'insert', table, fields }], unlocated))
  }

  get(table: string, id: string): StoredDocument | Promise<StoredDocument> {
    checkTableName(table)
    return this.#readNow((tenant) => tenant.get(table, id))
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
    const read = await this.#select(query, undefined, limit)
    if (!read.answer.isCut) return read.answer.documents
    throw new NimbusError('invalid_request', 'the result is larger than 16 MiB', {
      path: 'limit',
      remediation: 'Ask for fewer documents at a time, or for pages: POST .../query/paginated.',
    })
  }

  async putSchema(table: string, input: TableSchemaInput): Promise<TableSchema> {
    checkTableName(table)
    const schema = checkSchema(input)
    await this.#use((tenant) => tenant.putSchema(table, schema))
    return schema
  }

  getSchema(table: string): TableSchema | Promise<TableSchema> {
    checkTableName(table)
    return this.#readNow((tenant) => schemaOf(tenant.find(table), table))
  }

  async deleteSchema(table: string): Promise<void> {
    checkTableName(table)
    await this.#use((tenant) => tenant.deleteSchema(table))
  }

  async #write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]> {
    for (const [index, operation] of operations.entries()) checkOperation(operation, index, locate)
    return this.#use((tenant) => tenant.write(operations, locate))
  }

  async #page(selection: Selection, page: PageRequest, limitName: 'limit' | 'page_size'): Promise<DocumentPage> {
    const limit = checkLimit(page.limit, limitName)
    const { checked, answer } = await this.#select(selection, page.after, limit + 1)
    const documents = answer.documents.slice(0, limit)
    const last = documents.at(-1)
    const hasMore = answer.isCut || answer.documents.length > limit
    const nextCursor =
      hasMore && last !== undefined ? encodeCursor(checked.shape, encodePosition(positionOf(last, checked))) : null
    return { documents, nextCursor }
  }

  async #select(selection: Selection, after: string | undefined, wanted: number): Promise<Selected> {
    const name = checkTableName(selection.table)
    const prepare = (schema: TableSchema | undefined) => {
      const checked = checkSelection(selection, schema)
      const isByField = checked.orderBy !== undefined
      return {
        checked,
        after: after === undefined ? undefined : decodePosition(decodeCursor(checked.shape, after), isByField),
      }
    }
    return this.#use((tenant) => tenant.select(name, prepare, wanted))
  }

  /** On this thread if the tenant is open. */
  #readNow<R>(read: (tenant: OpenTenant) => R): R | Promise<R> {
    const tenant = this.#access.peek()
    if (tenant === undefined) return this.#use(async (opened) => read(opened))
    try {
      return read(tenant)
    } catch (error) {
      if (!(error instanceof TenantSpentError)) throw error
      return this.#use(async (opened) => read(opened))
    }
  }

  async #use<R>(work: (tenant: OpenTenant) => Promise<R>): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#access.use(work)
      } catch (error) {
        if (!(error instanceof TenantSpentError)) throw error
        if (attempt === MAX_ATTEMPTS) throw error.cause
      }
    }
  }
}

/** @throws `document_not_found` if the table was never made or has no schema */
export function schemaOf(table: TableState | undefined, name: string): TableSchema {
  if (table?.schema !== undefined) return table.schema
  throw new NimbusError('document_not_found', `table ${name} has no schema`, {
    remediation: 'Make one with PUT /api/tenants/:tenant/schema/:table.',
  })
}

/** Where a page that ends with this document ended. */
function positionOf(document: StoredDocument, { orderBy }: CheckedSelection): Position {
  if (orderBy === undefined) return { id: document.id, key: undefined }
  return { id: document.id, key: sortKeyOf(readField(parseFields(document.fieldsJson), orderBy.split('.'))) }
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
