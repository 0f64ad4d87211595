/** Functions that run inside a transaction. */
import type { Connection, Owner } from './connection.js'
import { PreparedStatement } from './prepared.js'
import { Statement } from './statement.js'

type AnyFunction = (this: unknown, ...values: never[]) => unknown

/** A function whose every call is one transaction, or a savepoint inside of one. */
export interface Transaction<F extends AnyFunction> {
  (...values: Parameters<F>): ReturnType<F>
  /** Begins with `BEGIN`. */
  readonly default: Transaction<F>
  /** Begins with `BEGIN DEFERRED`. */
  readonly deferred: Transaction<F>
  /** Begins with `BEGIN IMMEDIATE`: waits for the right to write at once. */
  readonly immediate: Transaction<F>
  /** Begins with `BEGIN EXCLUSIVE`. */
  readonly exclusive: Transaction<F>
  readonly database: Owner
}

const MODES = ['default', 'deferred', 'immediate', 'exclusive'] as const
const SAVEPOINT = '`\t_nimbus.\t`'

interface Steps {
  readonly begin: Readonly<Record<(typeof MODES)[number], Statement>>
  readonly commit: Statement
  readonly rollback: Statement
  readonly savepoint: Statement
  readonly release: Statement
  readonly rollbackTo: Statement
}

/** The statements that a database's transactions share, prepared with the first. */
export function stepsOf(connection: Connection, database: Owner): Steps {
  const prepare = (sql: string): Statement => new Statement(new PreparedStatement(connection, sql, false), database)
  return {
    begin: {
      default: prepare('BEGIN'),
      deferred: prepare('BEGIN DEFERRED'),
      immediate: prepare('BEGIN IMMEDIATE'),
      exclusive: prepare('BEGIN EXCLUSIVE'),
    },
    commit: prepare('COMMIT'),
    rollback: prepare('ROLLBACK'),
    savepoint: prepare(`SAVEPOINT ${SAVEPOINT}`),
    release: prepare(`RELEASE ${SAVEPOINT}`),
    rollbackTo: prepare(`ROLLBACK TO ${SAVEPOINT}`),
  }
}

export type { Steps }

/** The four variants of `run`; what is returned is the default one. */
export function wrap(database: Owner, steps: Steps, run: AnyFunction): unknown {
  const variants = MODES.map((mode) => [mode, variant(database, steps, run, mode)] as const)
  const properties: PropertyDescriptorMap = { database: { value: database, enumerable: true } }
  for (const [mode, value] of variants) properties[mode] = { value }
  for (const [, value] of variants) Object.defineProperties(value, properties)
  return properties['default']?.value
}

function variant(database: Owner, steps: Steps, run: AnyFunction, mode: (typeof MODES)[number]): AnyFunction {
  return function sqliteTransaction(this: unknown, ...values: never[]): unknown {
    const isNested = database.inTransaction
    const before = isNested ? steps.savepoint : steps.begin[mode]
    const after = isNested ? steps.release : steps.commit
    const undo = isNested ? steps.rollbackTo : steps.rollback
    before.run()
    try {
      const result = Reflect.apply(run, this, values)
      if (isThenable(result)) throw new TypeError('Transaction function cannot return a promise')
      after.run()
      return result
    } catch (error) {
      // SQLite ends a transaction by itself after some errors.
      if (database.inTransaction) {
        undo.run()
        if (isNested) after.run()
      }
      throw error
    }
  }
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
