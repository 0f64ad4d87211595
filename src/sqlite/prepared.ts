/** The native side of a prepared statement, and the calls that run it. */
import {
  compileArrays,
  compileNamed,
  compileObjects,
  compilePlucked,
  leave,
  leftStatement,
  library,
  type RowCode,
  type RowFactory,
  type RowSink,
} from '../native.js'
import { assertIdle, assertNoIteratorsUnlessUnsafe, assertOpen, type Connection, whileBusy } from './connection.js'
import { arrange, type Parameters, parametersOf } from './parameters.js'

/** One column of what a statement returns; null where it is the result of an expression. */
export interface ColumnDefinition {
  name: string
  column: string | null
  table: string | null
  database: string | null
  type: string | null
}

export type Mode = 'flat' | 'pluck' | 'expand' | 'raw'

/** Columns come as five strings each. */
const COLUMN_FIELDS = 5

/** A statement's native side, apart from the object that its user holds: it is finalized once nobody holds that. */
export class PreparedStatement {
  readonly connection: Connection
  readonly handle: number
  readonly source: string
  readonly returnsData: boolean
  readonly isReadOnly: boolean
  readonly parameters: Parameters
  safeIntegers: boolean
  mode: Mode = 'flat'
  bound = false
  /** An iteration over it is under way. */
  locked = false
  #code: RowCode | undefined

  /** @throws RangeError unless `source` is one statement; SqliteError */
  constructor(connection: Connection, source: string, isPragma: boolean) {
    if (typeof source !== 'string') throw new TypeError('Expected first argument to be a string')
    assertOpen(connection)
    assertIdle(connection)
    if (isPragma) assertNoIteratorsUnlessUnsafe(connection)
    const names = whileBusy(connection, () => library.prepare(connection.handle, source, !isPragma))
    if (names === 0) throw new RangeError('The supplied SQL string contains no statements')
    if (names === 1) throw new RangeError('The supplied SQL string contains more than one statement')
    const { handle, columns, isReadOnly } = leftStatement()
    this.connection = connection
    this.handle = handle
    this.source = source
    this.isReadOnly = isReadOnly
    this.returnsData = columns > 0 || isPragma
    this.parameters = parametersOf(names)
    this.safeIntegers = connection.safeIntegers
    if (this.safeIntegers) this.configure()
  }

  /** Called by native code when the columns may be others than they were. */
  changed(): [RowFactory, RowSink] {
    this.#code = undefined
    const { factory, sink } = this.code
    return [factory, sink]
  }

  get code(): RowCode {
    return (this.#code ??= this.#compile())
  }

  configure(): void {
    this.#code = undefined
    library.configure(this.handle, this.safeIntegers, this.mode === 'pluck')
  }

  columns(): ColumnDefinition[] {
    const fields = library.columns(this.handle)
    const columns: ColumnDefinition[] = []
    for (let at = 0; at < fields.length; at += COLUMN_FIELDS) {
      columns.push({
        name: fields[at] ?? '',
        column: fields[at + 1] ?? null,
        table: fields[at + 2] ?? null,
        database: fields[at + 3] ?? null,
        type: fields[at + 4] ?? null,
      })
    }
    return columns
  }

  assertReturnsData(): void {
    if (!this.returnsData) throw new TypeError('This statement does not return data. Use run() instead')
  }

  assertUsable(): void {
    const { connection } = this
    if (connection.open && !connection.busy && !this.locked) return
    assertOpen(connection)
    assertIdle(connection)
    throw new TypeError('This statement is busy executing a query')
  }

  /** What native code is to bind; the statement is usable then, whatever the values ran. */
  arrange(values: readonly unknown[]): readonly unknown[] {
    if (this.bound) {
      if (values.length > 0) this.#assertUnbound()
      return values
    }
    const arranged = arrange(this.parameters, values)
    // A getter among the values may have used this very statement, or closed the connection.
    this.assertUsable()
    this.#assertUnbound()
    return arranged
  }

  #assertUnbound(): void {
    if (this.bound) throw new TypeError('This statement already has bound parameters')
  }

  /** Tells the logger, for which the values are bound first; `work` then runs with what is bound. */
  logged<T>(log: (sql: string) => void, values: readonly unknown[], work: () => T): T {
    try {
      return whileBusy(this.connection, () => {
        library.bind(this.handle, ...values)
        log(library.expandedSql(this.handle))
        return work()
      })
    } finally {
      if (!this.bound) library.clear(this.handle)
    }
  }

  #compile(): RowCode {
    switch (this.mode) {
      case 'pluck':
        return compilePlucked()
      case 'raw':
        return compileArrays(library.columns(this.handle).length / COLUMN_FIELDS)
      case 'expand':
        return compileObjects(this.columns().map(({ table, name }) => [table ?? '$', name]))
      case 'flat':
        return compileNamed(library.names(this.handle))
    }
  }
}

// Functions of native code: `this` is what each call passes.
// eslint-disable-next-line @typescript-eslint/unbound-method
export const { all, next } = library
// eslint-disable-next-line @typescript-eslint/unbound-method
const { run, get } = library

/** Spreading costs as much as the call: few values are passed by name. Nor does it go by an iterator, which may be the user's. */
export function runWith(handle: number, values: readonly unknown[]): void {
  if (leave(handle, values)) run()
  else {
    switch (values.length) {
      case 1:
        run(values[0])
        return
      case 2:
        run(values[0], values[1])
        return
      case 3:
        run(values[0], values[1], values[2])
        return
      case 4:
        run(values[0], values[1], values[2], values[3])
        return
      case 5:
        run(values[0], values[1], values[2], values[3], values[4])
        return
      case 6:
        run(values[0], values[1], values[2], values[3], values[4], values[5])
        return
      default:
        Reflect.apply(run, undefined, values)
    }
  }
}

export function getWith(prepared: PreparedStatement, values: readonly unknown[]): unknown {
  const { factory } = prepared.code
  const row = leave(prepared.handle, values) ? get.call(prepared, factory) : getPassing(prepared, factory, values)
  // The code as it is now: SQLite may have prepared the statement anew meanwhile.
  return row === undefined ? undefined : prepared.code.reader(row)
}

function getPassing(prepared: PreparedStatement, factory: RowFactory, values: readonly unknown[]): unknown {
  switch (values.length) {
    case 1:
      return get.call(prepared, factory, values[0])
    case 2:
      return get.call(prepared, factory, values[0], values[1])
    case 3:
      return get.call(prepared, factory, values[0], values[1], values[2])
    default: {
      const passed: [RowFactory, ...unknown[]] = [factory]
      for (let index = 0; index < values.length; index += 1) passed.push(values[index])
      return Reflect.apply(get, prepared, passed)
    }
  }
}
