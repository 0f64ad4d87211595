/** A prepared statement: better-sqlite3's `Statement`. */
import { counters, exactCounters, library } from '../native.js'
import { assertIdle, assertNoIteratorsUnlessUnsafe, assertOpen, type Owner, whileBusy } from './connection.js'
import { all, type ColumnDefinition, getWith, type Mode, next, PreparedStatement, runWith } from './prepared.js'

/** What `run` did. */
export interface RunResult {
  /** Rows inserted, updated or deleted by the statement itself, not by triggers or foreign keys. */
  changes: number
  /** The row id of the last insert on this connection; a bigint with safe integers. */
  lastInsertRowid: number | bigint
}

/** Ends before native code would be asked again for a statement that returns few rows. */
const FIRST_ROWS = 16
const MORE_ROWS = 64
const MOST_ITERATORS = 0xffff
/** Values are bound already. */
const NONE: readonly unknown[] = []

/**
 * A prepared statement, made by `db.prepare(sql)`. `R` is what its rows are.
 *
 * Values for its parameters are numbers, strings, bigints, Buffers, null and undefined: one by one, in arrays, or by name in one plain
 * object. Methods throw `TypeError` or `RangeError` for a mistake of the caller and `SqliteError` for what SQLite refuses.
 */
export class Statement<R = unknown> {
  readonly #prepared: PreparedStatement

  /** @internal */
  constructor(prepared: PreparedStatement, database: Owner) {
    if (!(prepared instanceof PreparedStatement)) {
      throw new TypeError('Statements can only be constructed by the db.prepare() method')
    }
    this.#prepared = prepared
    library.watch(prepared.handle, this)
    // One by one, which takes half as long as all at once.
    Object.defineProperty(this, 'reader', { value: prepared.returnsData, enumerable: true })
    Object.defineProperty(this, 'readonly', { value: prepared.isReadOnly, enumerable: true })
    Object.defineProperty(this, 'source', { value: prepared.source, enumerable: true })
    Object.defineProperty(this, 'database', { value: database, enumerable: true })
  }

  /** Whether it returns rows. */
  declare readonly reader: boolean
  /** Whether it cannot change the database. */
  declare readonly readonly: boolean
  /** Its text. */
  declare readonly source: string
  /** The database that prepared it. */
  declare readonly database: Owner

  /** Whether an iteration over it is under way. */
  get busy(): boolean {
    return this.#prepared.connection.open && this.#prepared.locked
  }

  /** Runs the statement to its end. */
  run(...values: unknown[]): RunResult {
    const prepared = this.#prepared
    const { connection, handle } = prepared
    prepared.assertUsable()
    if (connection.iterators > 0) assertNoIteratorsUnlessUnsafe(connection)
    const bound = prepared.arrange(values)
    // Again: a getter among the values may have begun one.
    if (connection.iterators > 0) assertNoIteratorsUnlessUnsafe(connection)
    const { verbose } = connection
    if (verbose !== undefined) prepared.logged(verbose, bound, () => runWith(handle, NONE))
    else {
      connection.busy = true
      try {
        runWith(handle, bound)
      } finally {
        connection.busy = false
      }
    }
    return {
      changes: counters[0] ?? 0,
      lastInsertRowid: (prepared.safeIntegers ? exactCounters[2] : counters[1]) ?? 0,
    }
  }

  /** The first row, or undefined. */
  get(...values: unknown[]): R | undefined
  get(...values: unknown[]): unknown {
    const prepared = this.#prepared
    const { connection } = prepared
    if (!prepared.returnsData) prepared.assertReturnsData()
    prepared.assertUsable()
    const bound = prepared.arrange(values)
    const { verbose } = connection
    if (verbose !== undefined) return prepared.logged(verbose, bound, () => getWith(prepared, NONE))
    connection.busy = true
    try {
      return getWith(prepared, bound)
    } finally {
      connection.busy = false
    }
  }

  /** Every row. */
  all(...values: unknown[]): R[]
  all(...values: unknown[]): unknown[] {
    const prepared = this.#prepared
    const { connection, handle } = prepared
    if (!prepared.returnsData) prepared.assertReturnsData()
    prepared.assertUsable()
    const bound = prepared.arrange(values)
    const { sink } = prepared.code
    const { verbose } = connection
    const rows: unknown[] = []
    if (verbose !== undefined) {
      prepared.logged(verbose, bound, () => all.call(prepared, handle, sink, rows))
      return rows
    }
    connection.busy = true
    try {
      all.call(prepared, handle, sink, rows, ...bound)
    } finally {
      connection.busy = false
    }
    return rows
  }

  /** Every row, one after the other; until the iteration ends, nothing can be written through the connection. */
  iterate(...values: unknown[]): IterableIterator<R>
  iterate(...values: unknown[]): IterableIterator<unknown> {
    const prepared = this.#prepared
    prepared.assertReturnsData()
    prepared.assertUsable()
    const bound = prepared.arrange(values)
    if (prepared.connection.iterators === MOST_ITERATORS) throw new RangeError('Too many active database iterators')
    // Spreading an array of the caller's may run code of the caller's.
    whileBusy(prepared.connection, () => library.bind(prepared.handle, ...bound))
    return new StatementIterator(this, prepared)
  }

  /** Binds values for good: the other methods then take none. */
  bind(...values: unknown[]): this {
    const prepared = this.#prepared
    if (prepared.bound) throw new TypeError('The bind() method can only be invoked once per statement object')
    prepared.assertUsable()
    const bound = prepared.arrange(values)
    whileBusy(prepared.connection, () => library.bind(prepared.handle, ...bound))
    prepared.bound = true
    return this
  }

  /** Has rows be the value of their first column. */
  pluck(...toggle: [on?: boolean]): this {
    return this.#setMode('pluck', toggle)
  }

  /** Has rows be an object for each table, with its columns; what is of no table is under `$`. */
  expand(...toggle: [on?: boolean]): this {
    return this.#setMode('expand', toggle)
  }

  /** Has rows be arrays. */
  raw(...toggle: [on?: boolean]): this {
    return this.#setMode('raw', toggle)
  }

  /** Has integers be bigints, exact in all their 64 bits. */
  safeIntegers(...toggle: [on?: boolean]): this {
    const prepared = this.#prepared
    assertIdle(prepared.connection)
    assertUnlocked(prepared)
    prepared.safeIntegers = booleanOf(toggle)
    if (prepared.connection.open) prepared.configure()
    return this
  }

  /** What it returns, column by column. */
  columns(): ColumnDefinition[] {
    const prepared = this.#prepared
    if (!prepared.returnsData) throw new TypeError('The columns() method is only for statements that return data')
    assertOpen(prepared.connection)
    assertIdle(prepared.connection)
    return prepared.columns()
  }

  #setMode(mode: Exclude<Mode, 'flat'>, toggle: [on?: boolean]): this {
    const prepared = this.#prepared
    if (!prepared.returnsData) throw new TypeError(`The ${mode}() method is only for statements that return data`)
    assertIdle(prepared.connection)
    assertUnlocked(prepared)
    const on = booleanOf(toggle)
    if (on) prepared.mode = mode
    else if (prepared.mode === mode) prepared.mode = 'flat'
    if (prepared.connection.open) prepared.configure()
    return this
  }
}

function assertUnlocked(prepared: PreparedStatement): void {
  if (prepared.locked) throw new TypeError('This statement is busy executing a query')
}

/** Nothing given means true. */
export function booleanOf(toggle: readonly unknown[]): boolean {
  if (toggle.length === 0) return true
  const [on] = toggle
  if (typeof on !== 'boolean') throw new TypeError('Expected first argument to be a boolean')
  return on
}

class StatementIterator implements IterableIterator<unknown> {
  /** What is iterated; holding it keeps it from being finalized. */
  declare readonly statement: Statement
  readonly #prepared: PreparedStatement
  #rows: unknown[] = []
  #at = 0
  #alive = true
  #hasBegun = false
  #hasMore = true

  constructor(statement: Statement, prepared: PreparedStatement) {
    Object.defineProperty(this, 'statement', { value: statement, enumerable: true })
    this.#prepared = prepared
    prepared.locked = true
    prepared.connection.iterators += 1
  }

  next(): IteratorResult<unknown> {
    assertIdle(this.#prepared.connection)
    if (!this.#alive) return { value: undefined, done: true }
    if (this.#at === this.#rows.length && (!this.#hasMore || !this.#fill())) {
      this.#end()
      return { value: undefined, done: true }
    }
    const value = this.#rows[this.#at]
    this.#rows[this.#at] = undefined
    this.#at += 1
    return { value, done: false }
  }

  return(): IteratorResult<unknown> {
    assertIdle(this.#prepared.connection)
    if (this.#alive) this.#end()
    return { value: undefined, done: true }
  }

  [Symbol.iterator](): this {
    return this
  }

  /** Reads ahead, unless somebody could tell: through functions of JavaScript, or by writing meanwhile. */
  #fill(): boolean {
    const { connection, handle } = this.#prepared
    const { verbose } = connection
    const most = connection.calls || connection.unsafe ? 1 : this.#hasBegun ? MORE_ROWS : FIRST_ROWS
    this.#rows = []
    this.#at = 0
    connection.busy = true
    try {
      if (!this.#hasBegun && verbose !== undefined) verbose(library.expandedSql(handle))
      this.#hasBegun = true
      this.#hasMore = next.call(this.#prepared, handle, this.#prepared.code.sink, this.#rows, most)
    } catch (error) {
      connection.busy = false
      this.#end()
      throw error
    } finally {
      connection.busy = false
    }
    return this.#rows.length > 0
  }

  #end(): void {
    const prepared = this.#prepared
    this.#alive = false
    this.#rows = []
    prepared.locked = false
    prepared.connection.iterators -= 1
    try {
      // An aggregate that is cut short calls JavaScript, which may throw.
      whileBusy(prepared.connection, () => library.reset(prepared.handle))
    } finally {
      if (!prepared.bound) library.clear(prepared.handle)
    }
  }
}
