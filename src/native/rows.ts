/** The code that is compiled for each statement's rows. */
import { declareLeft, isLeft, LEFT_ARRAYS, LEFT_NAMES, leftValues, MOST_VALUES } from './slab.js'

/** Takes one row's values, returns what JavaScript sees of it. */
export type RowFactory = (...values: unknown[]) => unknown
/** Takes the values of many rows, one row after the other, and appends what JavaScript sees of them to `rows`. */
export type RowSink = (rows: unknown[], ...values: unknown[]) => void

export interface RowCode {
  factory: RowFactory
  sink: RowSink
  /** Takes what `library.get` returned for a row, which may have left it in the slab. */
  reader: (row: unknown) => unknown
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
    reader: (row) => (isLeft(row) ? assembled(paths, leftValues(row, paths.length), 0) : row),
  }
  if (compiled.size === MOST_COMPILED) compiled.clear()
  compiled.set(names, code)
  return code
}

/** The same for rows whose properties are columns: `names` is what `library.names` says of them. */
export function compileNamed(names: string): RowCode {
  const known = named.get(names)
  if (known !== undefined) return known
  const code = compileObjects(
    names
      .split('\0')
      .slice(0, -1)
      .map((name) => [name]),
  )
  if (named.size === MOST_COMPILED) named.clear()
  named.set(names, code)
  return code
}

/** By their names: to compile one takes longer than most statements, and a program opens the same files and asks the same of them. */
const compiled = new Map<string, RowCode>()
const named = new Map<string, RowCode>()
const MOST_COMPILED = 1000

/** The same for rows that are arrays. */
export function compileArrays(columns: number): RowCode {
  return {
    factory: (...values) => values,
    sink: (rows, ...values) => {
      for (let at = 0; at < values.length; at += columns) rows.push(values.slice(at, at + columns))
    },
    reader: (row) => (isLeft(row) ? leftValues(row, columns) : row),
  }
}

/** The same for the value of the first column alone, which is all that native code passes then. */
export function compilePlucked(): RowCode {
  return {
    factory: (value) => value,
    sink: (rows, ...values) => {
      for (let at = 0; at < values.length; at += 1) rows.push(values[at])
    },
    reader: (row) => row,
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
      ...LEFT_NAMES,
      `return{factory:(${names.join(',')})=>(${one}),` +
        `sink:(rows,...v)=>{for(let i=0;i<v.length;i+=${columns})rows.push(${many})},` +
        `reader:${columns > MOST_VALUES ? '(row)=>row' : readerOf(columns, one)}}`,
    ) as (...arrays: typeof LEFT_ARRAYS) => RowCode
    return make(...LEFT_ARRAYS)
  } catch (error) {
    if (error instanceof EvalError) return undefined
    throw error
  }
}

const readerOf = (columns: number, literal: string): string =>
  `(text)=>{if(text!==null&&typeof text!=='string')return text;${declareLeft(columns)}return(${literal})}`

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
