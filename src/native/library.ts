/** The functions of the embedded library (`crates/node/src/library`), and the code that is compiled for each statement's rows. */
import { addon } from './addon.js'
import type { Dek } from './keys.js'

/** Takes one row's values, returns what JavaScript sees of it. */
export type RowFactory = (...values: unknown[]) => unknown
/** Takes the values of many rows, one row after the other, and appends what JavaScript sees of them to `rows`. */
export type RowSink = (rows: unknown[], ...values: unknown[]) => void

/** What native code asks of a statement when SQLite compiled it anew. */
export interface RowOwner {
  changed(): [RowFactory, RowSink]
}

interface LibraryFunctions {
  setUp(makeError: (message: string, code: number) => Error, counters: Float64Array): void
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
  /** 0: no statement; 1: more than one; else handle, read-only (0 or 1), columns, and each parameter's name. */
  prepare(database: number, sql: string, isPersistent: boolean): 0 | 1 | [number, number, number, ...(string | null)[]]
  /** Finalizes the statement some time after `holder` was collected. */
  watch(statement: number, holder: object): void
  finalize(statement: number): void
  configure(statement: number, safeIntegers: boolean, pluck: boolean): void
  columns(statement: number): (string | null)[]
  expandedSql(statement: number): string
  bind(statement: number, ...values: unknown[]): void
  clear(statement: number): void
  run(statement: number, ...values: unknown[]): void
  get(this: RowOwner, statement: number, factory: RowFactory, ...values: unknown[]): unknown
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

/** What the last call changed: `changes`, the last row id, or the pages of a backup and those left. */
export const counters = new Float64Array(3)
/** The last row id again, exactly. */
export const exactCounters = new BigInt64Array(counters.buffer)

export interface RowCode {
  factory: RowFactory
  sink: RowSink
}

/**
 * The functions for rows whose object literal has these properties in this order; `path` has one name, or two where a table's
 * columns are an object of their own. Without the permission to compile code (`--disallow-code-generation-from-strings`)
 * they are put together from closures.
 */
export function compileObjects(paths: readonly (readonly string[])[]): RowCode {
  const names = JSON.stringify(paths)
  const known = compiled.get(names)
  if (known !== undefined) return known
  const literal = literalOf(paths)
  const code = compile(paths.length, (at) =>
    literal.replace(/@(\d+)@/g, (_, column: string) => at(Number(column))),
  ) ?? {
    factory: (...values) => assembled(paths, values, 0),
    sink: (rows, ...values) => {
      for (let at = 0; at < values.length; at += paths.length) rows.push(assembled(paths, values, at))
    },
  }
  if (compiled.size === MOST_COMPILED) compiled.clear()
  compiled.set(names, code)
  return code
}

/** By their names: to compile one takes longer than most statements, and a program opens the same files and asks the same of them. */
const compiled = new Map<string, RowCode>()
const MOST_COMPILED = 1000

/** The same for rows that are arrays. */
export function compileArrays(columns: number): RowCode {
  return {
    factory: (...values) => values,
    sink: (rows, ...values) => {
      for (let at = 0; at < values.length; at += columns) rows.push(values.slice(at, at + columns))
    },
  }
}

/** The same for the value of the first column alone, which is all that native code passes then. */
export function compilePlucked(): RowCode {
  return {
    factory: (value) => value,
    sink: (rows, ...values) => {
      for (let at = 0; at < values.length; at += 1) rows.push(values[at])
    },
  }
}

/** The arguments that a compiled function names one by one; wider rows go through an array. */
const MOST_NAMED = 1000

function compile(columns: number, literal: (value: (column: number) => string) => string): RowCode | undefined {
  if (columns > MOST_NAMED) return undefined
  const names = Array.from({ length: columns }, (_, column) => `c${column}`)
  const one = literal((column) => `c${column}`)
  const many = literal((column) => `v[i+${column}]`)
  try {
    // What is compiled are names in quotes (JSON) and nothing else of the statement.
    // eslint-disable-next-line @typescript-eslint/no-implied-eval
    const make = new Function(
      `return{factory:(${names.join(',')})=>(${one}),sink:(rows,...v)=>{for(let i=0;i<v.length;i+=${columns})rows.push(${many})}}`,
    ) as () => RowCode
    return make()
  } catch (error) {
    if (error instanceof EvalError) return undefined
    throw error
  }
}

/** `{"a":@0@,"t":{"b":@1@}}`; of properties of one name the last counts, in the place of the first. */
function literalOf(paths: readonly (readonly string[])[]): string {
  const root = new Map<string, string | Map<string, string>>()
  for (const [column, [outer = '', inner]] of paths.entries()) {
    if (inner === undefined) {
      root.set(outer, `@${column}@`)
      continue
    }
    let nested = root.get(outer)
    if (!(nested instanceof Map)) root.set(outer, (nested = new Map()))
    nested.set(inner, `@${column}@`)
  }
  return objectOf(root)
}

function objectOf(properties: ReadonlyMap<string, string | Map<string, string>>): string {
  const parts = [...properties].map(
    ([name, value]) => `${nameOf(name)}:${typeof value === 'string' ? value : objectOf(value)}`,
  )
  return `{${parts.join(',')}}`
}

/** In a literal `"__proto__":` would set the prototype. A placeholder's sign in a name is written as its escape. */
function nameOf(name: string): string {
  const quoted = JSON.stringify(name).replaceAll('@', '\\u0040')
  return name === '__proto__' ? `[${quoted}]` : quoted
}

function assembled(paths: readonly (readonly string[])[], values: readonly unknown[], at: number): unknown {
  const row: Record<string, unknown> = {}
  for (const [column, [outer = '', inner]] of paths.entries()) {
    if (inner === undefined) define(row, outer, values[at + column])
    else {
      if (!Object.hasOwn(row, outer)) define(row, outer, {})
      define(row[outer] as Record<string, unknown>, inner, values[at + column])
    }
  }
  return row
}

function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true })
}

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
