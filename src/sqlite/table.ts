/** Virtual tables whose rows a generator makes. */
import { library, type TableDefinition } from '../native.js'
import { assertFree, type Connection, whileBusy } from './connection.js'
import { lengthOf } from './options.js'

/** What a virtual table is. */
export interface VirtualTableOptions {
  /** Yields rows, as arrays or as objects; gets the values of `parameters`, undefined for those that SQL did not give. */
  rows: (...parameters: never[]) => Generator
  columns: string[]
  /** Names of hidden columns; `$1`, `$2` and so on, one for each parameter of `rows`, by default. */
  parameters?: string[]
  safeIntegers?: boolean
  /** Refuse the table inside of triggers and views. */
  directOnly?: boolean
}

const MOST_PARAMETERS = 32
const GENERATOR_PROTOTYPE: unknown = Object.getPrototypeOf(function* () {})

export function defineTable(connection: Connection, name: unknown, factory: unknown): void {
  if (typeof name !== 'string') throw new TypeError('Expected first argument to be a string')
  if (name === '') throw new TypeError('Virtual table module name cannot be an empty string')
  let make: (...words: string[]) => TableDefinition
  const isEponymous = typeof factory === 'object' && factory !== null
  if (isEponymous) {
    const definition = parse(factory, 'used', name)
    make = () => definition
  } else {
    if (typeof factory !== 'function') {
      throw new TypeError('Expected second argument to be a function or a table definition object')
    }
    make = (module = '', database = '', table = '', ...words) => {
      const definition: unknown = Reflect.apply(factory, { module, database, table }, words)
      if (typeof definition !== 'object' || definition === null) {
        throw new TypeError(`Virtual table module "${module}" did not return a table definition object`)
      }
      return parse(definition, 'returned', module)
    }
  }
  assertFree(connection)
  whileBusy(connection, () => library.table(connection.handle, name, make, isEponymous))
  connection.calls = true
}

function parse(definition: object, verb: string, module: string): TableDefinition {
  const fail = (what: string): TypeError =>
    new TypeError(`Virtual table module "${module}" ${verb} a table definition ${what}`)
  const own = (name: string): unknown => (Object.hasOwn(definition, name) ? Reflect.get(definition, name) : undefined)
  for (const name of ['rows', 'columns']) {
    if (!Object.hasOwn(definition, name)) throw fail(`without a "${name}" property`)
  }
  const rows = own('rows')
  if (!isGenerator(rows)) throw fail('with an invalid "rows" property (should be a generator function)')
  const columns = strings(own('columns'))
  if (columns === undefined) throw fail('with an invalid "columns" property (should be an array of strings)')
  if (columns.length !== new Set(columns).size) throw fail('with duplicate column names')
  if (columns.length === 0) {
    throw new RangeError(`Virtual table module "${module}" ${verb} a table definition with zero columns`)
  }
  const parameters = Object.hasOwn(definition, 'parameters') ? strings(own('parameters')) : inferred(rows)
  if (parameters === undefined) throw fail('with an invalid "parameters" property (should be an array of strings)')
  if (parameters.length !== new Set(parameters).size) throw fail('with duplicate parameter names')
  if (parameters.length > MOST_PARAMETERS) {
    throw new RangeError(
      `Virtual table module "${module}" ${verb} a table definition with more than the maximum number of ${MOST_PARAMETERS} parameters`,
    )
  }
  for (const parameter of parameters) {
    if (!columns.includes(parameter)) continue
    throw fail(`with column "${parameter}" which was ambiguously defined as both a column and parameter`)
  }
  const flag = (name: string): boolean | undefined => {
    if (!Object.hasOwn(definition, name)) return undefined
    const value = own(name)
    if (typeof value !== 'boolean') throw fail(`with an invalid "${name}" property (should be a boolean)`)
    return value
  }
  const safeIntegers = flag('safeIntegers')
  const directOnly = flag('directOnly') ?? false
  const sql = [...parameters.map((name) => `${identifier(name)} HIDDEN`), ...columns.map(identifier)].join(', ')
  return [
    `CREATE TABLE x(${sql});`,
    scanner(rows, columns, module),
    parameters,
    safeIntegers === undefined ? 2 : Number(safeIntegers),
    directOnly,
  ]
}

/** Opens a scan: what it returns gives the next row, with the parameters' values before the columns'. */
function scanner(rows: (...values: unknown[]) => Iterable<unknown>, columns: string[], module: string) {
  return (...values: unknown[]): (() => unknown[] | undefined) => {
    // The generator may change a buffer that it was given; the hidden columns must not.
    const hidden = values.map((value) => (Buffer.isBuffer(value) ? Buffer.from(value) : value))
    const iterator = rows(...values)[Symbol.iterator]()
    return () => {
      const next: IteratorResult<unknown> = iterator.next()
      return next.done === true ? undefined : [...hidden, ...rowOf(next.value, columns, module)]
    }
  }
}

function rowOf(row: unknown, columns: string[], module: string): unknown[] {
  const fail = (what: string): TypeError => new TypeError(`Virtual table module "${module}" yielded ${what}`)
  if (Array.isArray(row)) {
    if (row.length !== columns.length) throw fail('a row with an incorrect number of columns')
    return row
  }
  if (typeof row !== 'object' || row === null) throw fail("something that isn't a valid row object")
  const names = Object.keys(row)
  for (const name of names) {
    if (!columns.includes(name)) throw fail(`a row with an undeclared column "${name}"`)
  }
  if (names.length !== columns.length) throw fail('a row with missing columns')
  return columns.map((name): unknown => Reflect.get(row, name))
}

function isGenerator(value: unknown): value is (...values: unknown[]) => Iterable<unknown> {
  return typeof value === 'function' && Object.getPrototypeOf(value) === GENERATOR_PROTOTYPE
}

function strings(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) return undefined
  const texts: string[] = []
  for (const item of value) {
    if (typeof item !== 'string') return undefined
    texts.push(item)
  }
  return texts
}

const inferred = (rows: object): string[] => Array.from({ length: lengthOf(rows) }, (_, index) => `$${index + 1}`)

const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`
