/** Operations on documents as one request to the store: each planned on the state that those before it leave behind. */
import { NimbusError } from '../../errors.js'
import { StatementError, type Step } from '../../native.js'
import type { Operation, OperationResult, StoredDocument } from '../contract.js'
import { parseDocumentId } from '../ids.js'
import { type JsonObject, parseFields, serializeFields } from '../json.js'
import { mergePatch } from '../merge.js'
import { conform } from '../schema.js'
import type { OpenTenant } from './open-tenant.js'
import { violatedIndex } from './schema-change.js'
import { type DocumentTable, deleteStep, idParams, insertStep, readByIdSql, toDocument, updateStep } from './table.js'

/**
 * Of fields, in characters, read and written: each document is parsed on the event loop and held until the commit, so that a
 * thousand small patches of one large document would keep everybody else waiting.
 */
const MAX_TRANSACTION_SIZE = 16 * 1_048_576

/** What the errors of an operation say about where it stood. */
export type Locate = (error: NimbusError, operation: number) => NimbusError

/** One step for each operation, in their order. */
export interface Plan {
  readonly steps: readonly Step[]
  readonly tables: readonly DocumentTable[]
  readonly results: readonly OperationResult[]
}

/**
 * Plans without letting go of the event loop, so that ids are in order of the commits: whoever reads a table by id never finds
 * a document before those it has already seen. The caller holds the documents' locks, so what is read here stays.
 */
export function planWrites(tenant: OpenTenant, operations: readonly Operation[], nowMs: number, locate: Locate): Plan {
  const planner = new Planner(tenant, nowMs)
  for (const [index, operation] of operations.entries()) {
    try {
      planner.add(operation)
    } catch (error) {
      throw error instanceof NimbusError ? locate(error, index) : error
    }
  }
  return planner
}

/** A failure of the store, as the contract names it. */
export function explainFailure(error: unknown, { tables }: Plan, locate: Locate): unknown {
  if (!(error instanceof StatementError)) return error
  return locate(explainStatement(error, tables[error.step]), error.step)
}

/** The document, by the id in any case of letters. @throws `document_not_found` */
export function readDocument(tenant: OpenTenant, tableName: string, id: string): StoredDocument {
  const table = tenant.catalog.find(tableName)
  const parsed = parseDocumentId(id)
  if (table === undefined || parsed === undefined) throw documentNotFound(tableName)
  const row = tenant.store.get(readByIdSql(table), idParams(parsed))
  if (row === undefined) throw documentNotFound(tableName)
  return toDocument(table, row)
}

class Planner implements Plan {
  readonly steps: Step[] = []
  readonly tables: DocumentTable[] = []
  readonly results: OperationResult[] = []
  readonly #tenant: OpenTenant
  readonly #nowMs: number
  /** Documents as the operations so far leave them; `undefined` for deleted ones. */
  readonly #changed = new Map<string, StoredDocument | undefined>()
  #size = 0

  constructor(tenant: OpenTenant, nowMs: number) {
    this.#tenant = tenant
    this.#nowMs = nowMs
  }

  add(operation: Operation): void {
    const table = this.#tenant.catalog.find(operation.table)
    if (table === undefined) throw documentNotFound(operation.table)
    this.tables.push(table)
    switch (operation.op) {
      case 'insert':
        this.#insert(table, operation.fields)
        break
      case 'update':
        this.#update(table, this.#current(operation), operation.fields)
        break
      case 'delete':
        this.#delete(table, this.#current(operation))
        break
    }
  }

  #insert(table: DocumentTable, fields: JsonObject): void {
    const fieldsJson = serializeFields(conform(table.schema, fields))
    const id = this.#tenant.idsOf(table).next()
    const times = { createdAt: this.#nowMs, updatedAt: this.#nowMs }
    const document = { id: id.text, table: table.name, version: 1, ...times, fieldsJson }
    this.#count(document)
    this.steps.push(insertStep(table, id, document))
    this.results.push({ op: 'insert', document })
  }

  #update(table: DocumentTable, current: StoredDocument, patch: JsonObject): void {
    const fields = conform(table.schema, mergePatch(parseFields(current.fieldsJson), patch))
    const document = {
      ...current,
      version: current.version + 1,
      updatedAt: Math.max(this.#nowMs, current.updatedAt),
      fieldsJson: serializeFields(fields),
    }
    this.#count(document)
    this.#changed.set(keyOf(current), document)
    this.steps.push(updateStep(table, document))
    this.results.push({ op: 'update', document })
  }

  #delete(table: DocumentTable, current: StoredDocument): void {
    this.#changed.set(keyOf(current), undefined)
    this.steps.push(deleteStep(table, current))
    this.results.push({ op: 'delete', table: table.name, id: current.id })
  }

  #current(operation: Exclude<Operation, { op: 'insert' }>): StoredDocument {
    const { table, ifVersion } = operation
    const key = keyOf({ table, id: operation.id.toLowerCase() })
    const current = this.#changed.has(key) ? this.#changed.get(key) : readDocument(this.#tenant, table, operation.id)
    if (current === undefined) throw documentNotFound(table)
    this.#count(current)
    if (ifVersion !== undefined && ifVersion !== current.version) {
      throw new NimbusError('version_conflict', `document ${current.id} is at version ${current.version}`, {
        detail: { version: current.version, if_version: ifVersion },
      })
    }
    return current
  }

  #count({ fieldsJson }: StoredDocument): void {
    this.#size += fieldsJson.length
    if (this.#size <= MAX_TRANSACTION_SIZE) return
    throw new NimbusError('invalid_request', 'the documents that the transaction reads and writes exceed 16 MiB', {
      path: 'operations',
      remediation: 'Split the operations among several transactions.',
    })
  }
}

/** What names a document within its tenant. */
export function keyOf({ table, id }: { readonly table: string; readonly id: string }): string {
  return `${table}/${id}`
}

function explainStatement(error: StatementError, table: DocumentTable | undefined): NimbusError {
  if (error.kind === 'expectation_failed') {
    return new NimbusError('version_conflict', 'the document was changed at the same time', { cause: error })
  }
  const index =
    table === undefined || error.kind !== 'constraint_unique' ? undefined : violatedIndex(table, error.message)
  if (index === undefined) return new NimbusError('internal', 'a write was refused by the database', { cause: error })
  return new NimbusError('unique_violation', `another document has the same value in the unique index ${index}`, {
    detail: { index },
  })
}

function documentNotFound(table: string): NimbusError {
  return new NimbusError('document_not_found', `table ${table} holds no document of this id`)
}
