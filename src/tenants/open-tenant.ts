/** One open tenant of a local file, as `documents.ts` uses it: what a request says has been checked when it comes here. */
import type { Operation, OperationResult, StoredDocument } from './contract.js'
import { NimbusError } from '../errors.js'
import type { CheckedSelection } from './query.js'
import type { TableSchema } from './schema.js'
import type { Position } from './sort-key.js'

/** Of documents, in bytes; beyond it an answer ends early. */
export const MAX_ANSWER_BYTES = 16 * 1_048_576

const MAX_TABLES = 1_000

export interface Answer {
  readonly documents: StoredDocument[]
  /** Documents were left out because the answer would have become too large. */
  readonly isCut: boolean
}

/** A selection, and where in it to begin. */
export interface Prepared {
  readonly checked: CheckedSelection
  readonly after: Position | undefined
}

/** Makes a selection of a request, by the schema that its table has when it is read: a schema decides how values compare. */
export type Prepare = (schema: TableSchema | undefined) => Prepared

export interface Selected extends Prepared {
  readonly answer: Answer
}

export interface TableState {
  readonly name: string
  readonly schema: TableSchema | undefined
}

/** What the errors of an operation say about where it stood. */
export type Locate = (error: NimbusError, operation: number) => NimbusError

export interface OpenTenant {
  /** After a failure of the disk memory and file may differ: it must be opened anew as soon as its users have left. */
  readonly isSpent: boolean

  /** `undefined` if the table was never made. */
  find(table: string): TableState | undefined

  /** The document, by the id in any case of letters, on this thread. @throws `document_not_found` */
  get(table: string, id: string): StoredDocument

  write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]>

  /** The first `wanted` documents of a selection, all of them from one state of the table. */
  select(table: string, prepare: Prepare, wanted: number): Promise<Selected>

  /** Writers of the table wait meanwhile. @throws `schema_violation`, `unique_violation`, as `putSchema` does */
  putSchema(table: string, schema: TableSchema): Promise<void>

  /** @throws `document_not_found` if the table has no schema */
  deleteSchema(table: string): Promise<void>
}

/**
 * A request that has done nothing, because the tenant turned out to need opening anew: it is made again, on the tenant as it is
 * then. `cause` is what to say if that never ends.
 */
export class TenantSpentError extends Error {
  override readonly name = 'TenantSpentError'

  constructor(cause: unknown) {
    super('the tenant must be opened anew', { cause })
  }
}

/** Every table costs memory and time whenever the tenant is opened. @throws `invalid_request` if there are too many already */
export function requireRoom(tables: number): void {
  if (tables < MAX_TABLES) return
  throw new NimbusError('invalid_request', `the tenant has ${MAX_TABLES} tables, which is the most`, { path: 'table' })
}
