/** What the operations of a request do to documents: each planned on the state that those before it leave behind. */
import { NimbusError } from '../errors.js'
import type { Operation, OperationResult, StoredDocument } from './contract.js'
import { type DocumentId, parseDocumentId } from './ids.js'
import { type JsonObject, parseFields, serializeFields } from './json.js'
import { mergePatch } from './merge.js'
import type { TableState } from './open-tenant.js'
import { conform } from './schema.js'

/**
 * Of fields, in characters, read and written: each document is parsed on the event loop and held until the commit, so that a
 * thousand small patches of one large document would keep everybody else waiting.
 */
const MAX_TRANSACTION_SIZE = 16 * 1_048_576

/** A document with its fields parsed. */
export interface Parsed {
  readonly document: StoredDocument
  readonly fields: JsonObject
}

/** What operations are planned on, and where what they come to goes. */
export interface Ground<Table extends TableState> {
  /** `undefined` if the table was never made; one that an operation inserts into has been. */
  find(table: string): Table | undefined
  /** As it was before the request. */
  read(table: Table, id: DocumentId): StoredDocument | undefined
  nextId(table: Table): DocumentId
  inserted(table: Table, id: DocumentId, after: Parsed): void
  updated(table: Table, before: Parsed, after: Parsed): void
  deleted(table: Table, before: StoredDocument): void
}

export class Planner<Table extends TableState> {
  readonly results: OperationResult[] = []
  readonly #ground: Ground<Table>
  readonly #nowMs: number
  /** Documents as the operations so far leave them; `undefined` for deleted ones. */
  readonly #changed = new Map<string, StoredDocument | undefined>()
  #size = 0

  constructor(ground: Ground<Table>, nowMs: number) {
    this.#ground = ground
    this.#nowMs = nowMs
  }

  /** Of fields, in characters, that the operations so far have read and written. */
  get size(): number {
    return this.#size
  }

  /** @throws as the contract says of an operation; the request is then given up */
  add(operation: Operation): void {
    const table = this.#ground.find(operation.table)
    if (table === undefined) throw documentNotFound(operation.table)
    switch (operation.op) {
      case 'insert':
        this.#insert(table, operation.fields)
        break
      case 'update':
        this.#update(table, this.#current(table, operation), operation.fields)
        break
      case 'delete':
        this.#delete(table, this.#current(table, operation))
        break
    }
  }

  #insert(table: Table, sent: JsonObject): void {
    const fields = conform(table.schema, sent)
    const fieldsJson = serializeFields(fields)
    const id = this.#ground.nextId(table)
    const times = { createdAt: this.#nowMs, updatedAt: this.#nowMs }
    const document = { id: id.text, table: table.name, version: 1, ...times, fieldsJson }
    this.#count(document)
    this.#ground.inserted(table, id, { document, fields })
    this.results.push({ op: 'insert', document })
  }

  #update(table: Table, current: StoredDocument, patch: JsonObject): void {
    const before = { document: current, fields: parseFields(current.fieldsJson) }
    const fields = conform(table.schema, mergePatch(before.fields, patch))
    const document = {
      ...current,
      version: current.version + 1,
      updatedAt: Math.max(this.#nowMs, current.updatedAt),
      fieldsJson: serializeFields(fields),
    }
    this.#count(document)
    this.#changed.set(keyOf(current), document)
    this.#ground.updated(table, before, { document, fields })
    this.results.push({ op: 'update', document })
  }

  #delete(table: Table, current: StoredDocument): void {
    this.#changed.set(keyOf(current), undefined)
    this.#ground.deleted(table, current)
    this.results.push({ op: 'delete', table: table.name, id: current.id })
  }

  #current(table: Table, { id, ifVersion }: Exclude<Operation, { op: 'insert' }>): StoredDocument {
    const parsed = parseDocumentId(id)
    if (parsed === undefined) throw documentNotFound(table.name)
    const key = keyOf({ table: table.name, id: parsed.text })
    const current = this.#changed.has(key) ? this.#changed.get(key) : this.#ground.read(table, parsed)
    if (current === undefined) throw documentNotFound(table.name)
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

/** The tables that come into being with these operations, if they are not there. */
export function insertedTables(operations: readonly Operation[]): Set<string> {
  return new Set(operations.flatMap((operation) => (operation.op === 'insert' ? [operation.table] : [])))
}

/** What names a document within its tenant. */
export function keyOf({ table, id }: { readonly table: string; readonly id: string }): string {
  return `${table}/${id}`
}

export function documentNotFound(table: string): NimbusError {
  return new NimbusError('document_not_found', `table ${table} holds no document of this id`)
}

export function uniqueViolation(index: string): NimbusError {
  return new NimbusError('unique_violation', `another document has the same value in the unique index ${index}`, {
    detail: { index },
  })
}

export function notUnique(index: string, cause?: unknown): NimbusError {
  return new NimbusError('unique_violation', `documents share a value in what was to be the unique index ${index}`, {
    detail: { index },
    cause,
  })
}
