/** What a database and its statements share: the native handle, and who is using it. */
import { library, slab } from '../native.js'
import { nameOfCode, SqliteError } from './sqlite-error.js'

library.setUp((message, code) => new SqliteError(message, nameOfCode(code)), slab)

/** The database that statements and transactions belong to: `database.ts` says what else it is. */
export interface Owner {
  readonly inTransaction: boolean
}

export interface Connection {
  handle: number
  open: boolean
  /** A statement is being stepped: its callbacks may not use the connection. */
  busy: boolean
  /** Iterations under way: until they end, nothing may be written. */
  iterators: number
  safeIntegers: boolean
  unsafe: boolean
  /** Functions or tables of JavaScript were defined: what they do must not happen earlier than asked for. */
  calls: boolean
  readonly verbose: ((sql: string) => void) | undefined
}

export function assertOpen(connection: Connection): void {
  if (!connection.open) throw new TypeError('The database connection is not open')
}

export function assertIdle(connection: Connection): void {
  if (connection.busy) throw new TypeError('This database connection is busy executing a query')
}

export function assertNoIterators(connection: Connection): void {
  if (connection.iterators > 0) throw new TypeError('This database connection is busy executing a query')
}

export function assertNoIteratorsUnlessUnsafe(connection: Connection): void {
  if (!connection.unsafe) assertNoIterators(connection)
}

/** Open, not inside a statement, and no iteration under way. */
export function assertFree(connection: Connection): void {
  assertOpen(connection)
  assertIdle(connection)
  assertNoIterators(connection)
}

/** Runs `work` while nobody else may use the connection. */
export function whileBusy<T>(connection: Connection, work: () => T): T {
  connection.busy = true
  try {
    return work()
  } finally {
    connection.busy = false
  }
}
