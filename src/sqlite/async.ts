/** Statements of a database that native threads run: `db.async`. */
import { compileObjects, keepAlive, library, type PoolAnswer } from '../native.js'
import { assertOpen, type Connection } from './connection.js'
import { arrange, type Parameters } from './parameters.js'
import { PreparedStatement } from './prepared.js'
import { nameOfCode, SqliteError } from './sqlite-error.js'
import type { RunResult } from './statement.js'

/** How asynchronous statements run. */
export interface AsyncOptions {
  /** Aborting it interrupts the statements. */
  signal?: AbortSignal
}

/** What is known of a statement without running it. */
interface Known {
  readonly returnsData: boolean
  readonly isReadOnly: boolean
  readonly parameters: Parameters
}

interface Rows {
  readonly rows: unknown[]
  readonly isDone: boolean
  readonly result: RunResult
}

interface Waiting {
  readonly resolve: (rows: Rows) => void
  readonly reject: (error: Error) => void
}

const MOST_KNOWN = 500
/** Of one call of a function. */
const VALUES_AT_ONCE = 8192
const LARGEST_ID = 0x7fffffff

/** The connections beside a database's own, and who waits for them. Opened at the first statement; closed before the database. */
export class Pool {
  readonly #connection: Connection
  readonly #waiting = new Map<number, Waiting>()
  readonly #known = new Map<string, Known>()
  #handle: number | undefined
  #lastId = 0

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get safeIntegers(): boolean {
    return this.#connection.safeIntegers
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0
  }

  /** Ends what is under way, with `SQLITE_INTERRUPT`. */
  close(): void {
    if (this.#handle === undefined) return
    const handle = this.#handle
    this.#handle = undefined
    this.#known.clear()
    library.poolClose(handle)
  }

  /** @throws as `prepare` of the database */
  know(sql: string): Known {
    assertOpen(this.#connection)
    const known = this.#known.get(sql)
    if (known !== undefined) return known
    const prepared = new PreparedStatement(this.#connection, sql, false)
    library.finalize(prepared.handle)
    if (this.#known.size === MOST_KNOWN) this.#known.clear()
    this.#known.set(sql, prepared)
    return prepared
  }

  nextId(): number {
    do this.#lastId = this.#lastId === LARGEST_ID ? 0 : this.#lastId + 1
    while (this.#waiting.has(this.#lastId))
    return this.#lastId
  }

  read(id: number, sql: string, isOne: boolean, values: readonly unknown[]): Promise<Rows> {
    const handle = this.#open()
    return this.#ask(id, () => library.poolRead(handle, id, sql, this.safeIntegers, isOne, ...values))
  }

  write(id: number, sql: string, values: readonly unknown[]): Promise<Rows> {
    const handle = this.#open()
    return this.#ask(id, () => library.poolWrite(handle, id, sql, this.safeIntegers, ...values))
  }

  next(id: number): Promise<Rows> {
    const handle = this.#handle
    if (handle === undefined) return Promise.reject(interrupted())
    return this.#ask(id, () => library.poolNext(handle, id))
  }

  stop(id: number): void {
    if (this.#handle !== undefined) library.poolStop(this.#handle, id)
  }

  #ask(id: number, submit: () => void): Promise<Rows> {
    return new Promise((resolve, reject) => {
      submit()
      keepAlive.hold()
      this.#waiting.set(id, { resolve, reject })
    })
  }

  #open(): number {
    if (this.#handle !== undefined) return this.#handle
    const { handle } = this.#connection
    const settings = ['synchronous', 'foreign_keys', 'recursive_triggers'].map((name) => {
      const prepared = new PreparedStatement(this.#connection, `PRAGMA ${name}`, true)
      const rows: { [name: string]: unknown }[] = []
      library.all.call(prepared, prepared.handle, prepared.code.sink, rows)
      library.finalize(prepared.handle)
      return `PRAGMA ${name} = ${String(rows[0]?.[name])};`
    })
    const opened = library.poolOpen(handle, settings.join(''), answering(this.#waiting))
    if (opened === undefined) {
      throw new TypeError('A database in memory or a temporary one has no asynchronous statements: give it a file')
    }
    return (this.#handle = opened)
  }
}

/** Apart from the pool, so that native code does not hold the database. */
function answering(waiting: Map<number, Waiting>): (answer: PoolAnswer) => void {
  return (answer) => {
    const request = waiting.get(answer[0])
    if (request === undefined) return
    waiting.delete(answer[0])
    keepAlive.release()
    if (answer.length === 3) {
      const [, message, code] = answer
      request.reject(new SqliteError(message, nameOfCode(code)))
      return
    }
    const [, columns, values, isDone, changes, lastInsertRowid] = answer
    const rows: unknown[] = []
    if (columns.length > 0) {
      const { sink } = compileObjects(columns.map((name) => [name]))
      const step = Math.max(1, Math.floor(VALUES_AT_ONCE / columns.length)) * columns.length
      for (let at = 0; at < values.length; at += step) sink(rows, ...values.slice(at, at + step))
    }
    request.resolve({ rows, isDone, result: { changes, lastInsertRowid } })
  }
}

const interrupted = (): Error => new SqliteError('interrupted', 'SQLITE_INTERRUPT')

/**
 * Statements that native threads run, on connections of their own beside the database's: `db.async`. The event loop goes on
 * meanwhile. Reads run side by side, writes one after the other in the order in which they were asked for; each statement is a
 * transaction of its own and sees what was committed before it began, not what the database's own transaction has yet to commit.
 *
 * Promises are rejected with what the synchronous methods throw: TypeError or RangeError for a mistake of the caller, SqliteError
 * for what SQLite refuses; `SQLITE_AUTH` for transactions, `ATTACH`, `VACUUM`, temporary tables and settings, which belong to one
 * connection; `SQLITE_INTERRUPT` when the database is closed meanwhile; and with the signal's reason. A write that is rejected has
 * changed nothing.
 */
export class AsyncStatements {
  readonly #pool: Pool
  /** Not to be collected, and so closed, while statements are under way. */
  readonly #database: object
  readonly #signal: AbortSignal | undefined

  /** @internal */
  constructor(pool: Pool, database: object, signal: AbortSignal | undefined) {
    this.#pool = pool
    this.#database = database
    this.#signal = signal
  }

  /** The same with options: `db.async.with({ signal }).all(sql)`. @throws TypeError unless `signal` is an AbortSignal */
  with(options: AsyncOptions): AsyncStatements {
    const { signal } = options
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new TypeError('Expected the "signal" option to be an AbortSignal')
    }
    return new AsyncStatements(this.#pool, this.#database, signal)
  }

  /** Runs a statement to its end: rows changed, and the row id of the last insert. It is committed when this is fulfilled. */
  async run(sql: string, ...values: unknown[]): Promise<RunResult> {
    const { parameters } = this.#known(sql)
    const { result } = await this.#write(sql, arrange(parameters, values))
    return result
  }

  /** The first row, or undefined. */
  get<R = unknown>(sql: string, ...values: unknown[]): Promise<R | undefined>
  async get(sql: string, ...values: unknown[]): Promise<unknown> {
    const { isReadOnly, parameters } = this.#returning(sql)
    const bound = arrange(parameters, values)
    const { rows } = isReadOnly ? await this.#read(sql, true, bound).first : await this.#write(sql, bound)
    return rows[0]
  }

  /** Every row. */
  all<R = unknown>(sql: string, ...values: unknown[]): Promise<R[]>
  async all(sql: string, ...values: unknown[]): Promise<unknown[]> {
    const { isReadOnly, parameters } = this.#returning(sql)
    const bound = arrange(parameters, values)
    if (!isReadOnly) return (await this.#write(sql, bound)).rows
    const { id, first } = this.#read(sql, false, bound)
    const { rows, isDone } = await first
    for (let done = isDone; !done;) {
      const more = await this.#during(id, true, this.#pool.next(id))
      for (const row of more.rows) rows.push(row)
      done = more.isDone
    }
    return rows
  }

  /**
   * Every row, one after the other, all from one state of the file. At most two batches are in memory, each of 1,000 rows or 256 KiB: one
   * is read while the other is consumed, and nothing more until that is done. The loop's end, however it comes, frees the connection.
   * Of statements that read only.
   */
  iterate<R = unknown>(sql: string, ...values: unknown[]): AsyncGenerator<R, void, undefined>
  async *iterate(sql: string, ...values: unknown[]): AsyncGenerator<unknown, void, undefined> {
    const { isReadOnly, parameters } = this.#returning(sql)
    if (!isReadOnly) throw new TypeError('iterate() is for statements that change nothing: use all()')
    const { id, first } = this.#read(sql, false, arrange(parameters, values))
    let batch = await first
    try {
      for (;;) {
        const ahead: Promise<Rows> | undefined = batch.isDone ? undefined : this.#during(id, true, this.#pool.next(id))
        // Looked at below, if the loop gets there.
        ahead?.catch(() => undefined)
        for (const row of batch.rows) {
          this.#signal?.throwIfAborted()
          yield row
        }
        if (ahead === undefined) return
        batch = await ahead
      }
    } finally {
      if (!batch.isDone) this.#pool.stop(id)
    }
  }

  #known(sql: string): Known {
    const known = this.#pool.know(sql)
    this.#signal?.throwIfAborted()
    return known
  }

  #returning(sql: string): Known {
    const known = this.#known(sql)
    if (!known.returnsData) throw new TypeError('This statement does not return data. Use run() instead')
    return known
  }

  #read(sql: string, isOne: boolean, values: readonly unknown[]): { id: number; first: Promise<Rows> } {
    const id = this.#pool.nextId()
    return { id, first: this.#during(id, true, this.#pool.read(id, sql, isOne, values)) }
  }

  #write(sql: string, values: readonly unknown[]): Promise<Rows> {
    const id = this.#pool.nextId()
    return this.#during(id, false, this.#pool.write(id, sql, values))
  }

  /** Has the signal stop the request. A read is over for its caller at once; a write when it is known whether it has happened. */
  async #during(id: number, isRead: boolean, answer: Promise<Rows>): Promise<Rows> {
    const signal = this.#signal
    if (signal === undefined) return answer
    let disregard: (() => void) | undefined
    const aborted = new Promise<never>((_resolve, reject) => {
      disregard = whenAborted(signal, () => {
        this.#pool.stop(id)
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own reason
        if (isRead) reject(signal.reason)
      })
    })
    try {
      return await Promise.race([answer, aborted])
    } catch (error) {
      throw signal.aborted && error instanceof SqliteError && error.code === 'SQLITE_INTERRUPT' ? signal.reason : error
    } finally {
      disregard?.()
    }
  }
}

interface Awaited {
  readonly acts: Set<() => void>
  readonly onAbort: () => void
}

/** Who waits for each signal. One listener for all of them: Node warns of a leak when a signal has more than ten. */
const awaited = new WeakMap<AbortSignal, Awaited>()

/** Calls `act` when the signal is aborted, or at once if it is, until what this returns is called. */
function whenAborted(signal: AbortSignal, act: () => void): () => void {
  if (signal.aborted) {
    act()
    return () => undefined
  }
  const { acts, onAbort } = awaited.get(signal) ?? listen(signal)
  acts.add(act)
  return () => {
    if (!acts.delete(act) || acts.size > 0) return
    awaited.delete(signal)
    signal.removeEventListener('abort', onAbort)
  }
}

function listen(signal: AbortSignal): Awaited {
  const acts = new Set<() => void>()
  const onAbort = (): void => {
    for (const act of acts) act()
  }
  signal.addEventListener('abort', onAbort, { once: true })
  awaited.set(signal, { acts, onAbort })
  return { acts, onAbort }
}
