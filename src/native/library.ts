/** The functions of the embedded library (`crates/node/src/library`). */
import { addon } from './addon.js'
import type { Dek } from './keys.js'
import type { RowFactory, RowSink } from './rows.js'

/** What native code asks of a statement when SQLite compiled it anew. */
export interface RowOwner {
  changed(): [RowFactory, RowSink]
}

interface LibraryFunctions {
  setUp(makeError: (message: string, code: number) => Error, slab: Float64Array): void
  open(
    path: string,
    flags: number,
    timeoutMs: number,
    key?: Uint8Array | Dek,
    fileId?: Uint8Array,
    serialized?: Uint8Array,
  ): number
  close(database: number): void
  exec(database: number, sql: string, log?: (sql: string) => void): void
  inTransaction(database: number): boolean
  defensive(database: number, on: boolean, safeIntegers: boolean): void
  serialize(database: number, schema: string): Buffer
  fileBytes(database: number, schema: string): Buffer
  loadExtension(database: number, path: string, entryPoint?: string): void
  rekey(database: number, key: Uint8Array): void
  /**
   * 0: no statement; 1: more than one; else the names of the parameters, each with a NUL at its end and nothing before it if there is none.
   * What else the statement is: `leftStatement`.
   */
  prepare(database: number, sql: string, isPersistent: boolean): 0 | 1 | string
  /** Finalizes the statement some time after `holder` was collected. */
  watch(statement: number, holder: object): void
  finalize(statement: number): void
  configure(statement: number, safeIntegers: boolean, pluck: boolean): void
  columns(statement: number): (string | null)[]
  /** Of the columns, each with a NUL at its end. */
  names(statement: number): string
  expandedSql(statement: number): string
  bind(statement: number, ...values: unknown[]): void
  clear(statement: number): void
  /** Of the statement in the slab (`slab.ts`), as `get`. */
  run(...values: unknown[]): void
  get(this: RowOwner, factory: RowFactory, ...values: unknown[]): unknown
  all(this: RowOwner, statement: number, sink: RowSink, rows: unknown[], ...values: unknown[]): void
  next(this: RowOwner, statement: number, sink: RowSink, rows: unknown[], most: number): boolean
  reset(statement: number): void
  function(
    database: number,
    name: string,
    count: number,
    safeIntegers: number,
    flags: number,
    call: (...values: never[]) => unknown,
  ): void
  aggregate(
    database: number,
    name: string,
    count: number,
    safeIntegers: number,
    flags: number,
    start: () => number,
    step: (id: number, ...values: unknown[]) => void,
    inverse: ((id: number, ...values: unknown[]) => void) | undefined,
    result: (id: number) => unknown,
    end: (id: number) => void,
  ): void
  table(database: number, name: string, factory: (...words: string[]) => TableDefinition, isEponymous: boolean): void
  backupOpen(database: number, schema: string, path: string, isNewFile: boolean): number
  /** SQLite's code: 0 (there is more), 5 or 6 (somebody holds a lock), 101 (done). */
  backupStep(backup: number, pages: number): number
  backupClose(backup: number): void
  /** Connections beside the database's, with pragmas for each of them: undefined if the database is not a file that lasts. */
  poolOpen(database: number, settings: string, onAnswer: (answer: PoolAnswer) => void): number | undefined
  poolRead(pool: number, id: number, sql: string, safeIntegers: boolean, isOne: boolean, ...values: unknown[]): void
  poolWrite(pool: number, id: number, sql: string, safeIntegers: boolean, ...values: unknown[]): void
  poolNext(pool: number, id: number): void
  poolStop(pool: number, id: number): void
  /** Interrupts what runs, refuses what waits, and returns when no thread uses the file. */
  poolClose(pool: number): void
}

/** `[id, message, code]` of a failure; `[id, columns, values, isDone, changes, lastInsertRowid]`, the values one row after the other. */
export type PoolAnswer =
  | [id: number, message: string, code: number]
  | [
      id: number,
      columns: string[],
      values: unknown[],
      isDone: boolean,
      changes: number,
      lastInsertRowid: number | bigint,
    ]

/** SQL of the table, what opens a scan, names of parameters, safe integers (0, 1, or 2: as the database), direct only. */
export type TableDefinition = [string, (...values: unknown[]) => () => unknown[] | undefined, string[], number, boolean]

export const library = addon.sqliteLibrary() as unknown as LibraryFunctions

/**
 * A class that is also called without `new`, as those of better-sqlite3 are.
 */
export function callable<Class extends new (...values: never[]) => object>(
  target: Class,
): Class & ((...values: ConstructorParameters<Class>) => InstanceType<Class>) {
  const proxy: Class = new Proxy(target, {
    apply: (constructed, _this, values: ConstructorParameters<Class>) => new constructed(...values),
    // Were the proxy itself the target of `new`, V8 would give each object a hidden class of its own, and each use of it be slow.
    construct: (constructed, values, newTarget) =>
      Reflect.construct(constructed, values, newTarget === proxy ? constructed : newTarget) as object,
  })
  Object.defineProperty(target.prototype, 'constructor', { value: proxy, writable: true, configurable: true })
  return proxy as Class & ((...values: ConstructorParameters<Class>) => InstanceType<Class>)
}

/** A property of an options object, whatever that is. */
export const optionOf = (options: object, name: string): unknown => (options as Record<string, unknown>)[name]
