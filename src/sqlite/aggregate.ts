/** Aggregates and window functions: what native code calls for each group. */
import { library, optionOf } from '../native.js'
import { assertFree, type Connection } from './connection.js'
import { booleanOption, functionFlags, lengthOf, safeIntegersOption } from './options.js'

type AnyFunction = (...values: unknown[]) => unknown

const MOST_ARGUMENTS = 100
const MOST_GROUPS = 0x7fffffff

export function defineAggregate(connection: Connection, name: unknown, options: unknown): void {
  if (typeof name !== 'string') throw new TypeError('Expected first argument to be a string')
  if (typeof options !== 'object' || options === null) {
    throw new TypeError('Expected second argument to be an options object')
  }
  if (name === '') throw new TypeError('User-defined function name cannot be an empty string')
  const start = 'start' in options ? options.start : null
  const step = functionOption(options, 'step')
  if (step === undefined) throw new TypeError('Missing required option "step"')
  const inverse = functionOption(options, 'inverse')
  const result = functionOption(options, 'result')
  const safeIntegers = safeIntegersOption(options)
  const flags = functionFlags(options)
  const count = booleanOption(options, 'varargs') ? -1 : countOf(step, inverse)
  assertFree(connection)
  const groups = new Groups(start, result)
  library.aggregate(
    connection.handle,
    name,
    count,
    safeIntegers,
    flags,
    () => groups.start(),
    (id, ...values) => groups.take(step, id, values),
    inverse === undefined ? undefined : (id, ...values) => groups.take(inverse, id, values),
    (id) => groups.result(id),
    (id) => groups.end(id),
  )
  connection.calls = true
}

/** What has been accumulated for each group that is not done, by the number that native code knows it by. */
class Groups {
  readonly #start: unknown
  readonly #result: AnyFunction | undefined
  readonly #values = new Map<number, unknown>()
  #lastId = 0

  constructor(start: unknown, result: AnyFunction | undefined) {
    this.#start = start
    this.#result = result
  }

  start(): number {
    const value: unknown = isFunction(this.#start) ? this.#start() : this.#start
    do this.#lastId = (this.#lastId % MOST_GROUPS) + 1
    while (this.#values.has(this.#lastId))
    this.#values.set(this.#lastId, value)
    return this.#lastId
  }

  take(step: AnyFunction, id: number, values: unknown[]): void {
    this.#guarded(id, () => {
      const value = step(this.#values.get(id), ...values)
      if (value !== undefined) this.#values.set(id, value)
    })
  }

  result(id: number): unknown {
    const value = this.#values.get(id)
    const { result } = { result: this.#result }
    return result === undefined ? value : this.#guarded(id, () => result(value))
  }

  end(id: number): void {
    this.#values.delete(id)
  }

  /** After an exception native code does not come back to say that the group is done. */
  #guarded<T>(id: number, work: () => T): T {
    try {
      return work()
    } catch (error) {
      this.#values.delete(id)
      throw error
    }
  }
}

/** What a step is given besides what has been accumulated. */
function countOf(step: AnyFunction, inverse: AnyFunction | undefined): number {
  const length = Math.max(lengthOf(step), inverse === undefined ? 0 : lengthOf(inverse))
  const count = length > 0 ? length - 1 : 0
  if (count > MOST_ARGUMENTS) throw new RangeError('User-defined functions cannot have more than 100 arguments')
  return count
}

function functionOption(options: object, name: string): AnyFunction | undefined {
  const value = name in options ? optionOf(options, name) : null
  if (value === undefined || value === null) return undefined
  if (isFunction(value)) return value
  throw new TypeError(`Expected the "${name}" option to be a function`)
}

function isFunction(value: unknown): value is AnyFunction {
  return typeof value === 'function'
}
