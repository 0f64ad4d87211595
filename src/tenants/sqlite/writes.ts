/** Operations on documents as one request to the store. */
import { NimbusError } from '../../errors.js'
import { type SqliteStore, StatementError, type Step } from '../../native.js'
import type { Operation, OperationResult, StoredDocument } from '../contract.js'
import type { DocumentId, IdGenerator } from '../ids.js'
import type { Locate } from '../open-tenant.js'
import { type Ground, type Parsed, Planner, uniqueViolation } from '../planner.js'
import { readDocument } from './reads.js'
import { violatedIndex } from './schema-change.js'
import { type DocumentTable, deleteStep, insertStep, updateStep } from './table.js'

/** One step for each operation, in their order. */
export interface Plan {
  readonly steps: Step[]
  readonly tables: readonly DocumentTable[]
  readonly results: OperationResult[]
}

/** What writes are planned on. */
interface Source {
  readonly store: SqliteStore
  find(table: string): DocumentTable | undefined
  idsOf(table: DocumentTable): IdGenerator
}

/**
 * Plans without letting go of the event loop, so that ids are in order of the commits: whoever reads a table by id never finds
 * a document before those it has already seen. The caller holds the documents' locks, so what is read here stays.
 */
export function planWrites(source: Source, operations: readonly Operation[], nowMs: number, locate: Locate): Plan {
  const ground = new Steps(source)
  const planner = new Planner(ground, nowMs)
  for (const [index, operation] of operations.entries()) {
    try {
      planner.add(operation)
    } catch (error) {
      throw error instanceof NimbusError ? locate(error, index) : error
    }
  }
  return { steps: ground.steps, tables: ground.tables, results: planner.results }
}

/** A failure of the store, as the contract names it. */
export function explainFailure(error: unknown, { tables }: Plan, locate: Locate): unknown {
  if (!(error instanceof StatementError)) return error
  return locate(explainStatement(error, tables[error.step]), error.step)
}

class Steps implements Ground<DocumentTable> {
  readonly steps: Step[] = []
  readonly tables: DocumentTable[] = []
  readonly #source: Source

  constructor(source: Source) {
    this.#source = source
  }

  find(table: string): DocumentTable | undefined {
    return this.#source.find(table)
  }

  read(table: DocumentTable, id: DocumentId): StoredDocument | undefined {
    return readDocument(this.#source.store, table, id)
  }

  nextId(table: DocumentTable): DocumentId {
    return this.#source.idsOf(table).next()
  }

  inserted(table: DocumentTable, id: DocumentId, { document }: Parsed): void {
    this.#push(table, insertStep(table, id, document))
  }

  updated(table: DocumentTable, _before: Parsed, { document }: Parsed): void {
    this.#push(table, updateStep(table, document))
  }

  deleted(table: DocumentTable, before: StoredDocument): void {
    this.#push(table, deleteStep(table, before))
  }

  #push(table: DocumentTable, step: Step): void {
    this.tables.push(table)
    this.steps.push(step)
  }
}

function explainStatement(error: StatementError, table: DocumentTable | undefined): NimbusError {
  if (error.kind === 'expectation_failed') {
    return new NimbusError('version_conflict', 'the document was changed at the same time', { cause: error })
  }
  const index =
    table === undefined || error.kind !== 'constraint_unique' ? undefined : violatedIndex(table, error.message)
  if (index === undefined) return new NimbusError('internal', 'a write was refused by the database', { cause: error })
  return uniqueViolation(index)
}
