/** From the arguments of a call to one value for each parameter, in SQLite's order. */

/** What a statement asks for. */
export interface Parameters {
  readonly count: number
  /** Of the named ones, without their sign, with their place from 0. */
  readonly named: readonly (readonly [string, number])[]
  /** The places of those without a name. */
  readonly anonymous: readonly number[]
}

/** From their names, as `library.prepare` has them: each with a NUL at its end, and nothing before it if there is none. */
export function parametersOf(names: string): Parameters {
  const named: [string, number][] = []
  const anonymous: number[] = []
  let count = 0
  for (let from = 0; from < names.length; count += 1) {
    const end = names.indexOf('\0', from)
    if (end === from) anonymous.push(count)
    else named.push([names.slice(from + 1, end), count])
    from = end + 1
  }
  return { count, named, anonymous }
}

/**
 * The values as they came, one by one or in an array, where that is right already, which is the usual case.
 *
 * @returns an array that nobody else has: reading it again gives the same, and runs no code
 */
export function arrange(parameters: Parameters, values: readonly unknown[]): readonly unknown[] {
  if (parameters.named.length > 0) return arrangeAll(parameters, values)
  const [first] = values
  const isList = values.length === 1 && Array.isArray(first)
  if ((isList ? first.length : values.length) !== parameters.count) return arrangeAll(parameters, values)
  const given = isList ? copyOf(first) : values
  for (let index = 0; index < given.length; index += 1) {
    if (!isPlainValue(given[index])) return arrangeAll(parameters, values)
  }
  return given
}

/** What needs no look at what else it may be. */
const isPlainValue = (value: unknown): boolean =>
  typeof value === 'number' || typeof value === 'string' || value === null || typeof value === 'bigint'

/** Each element is read once. A literal is made in place, which `slice` and spreading are not; they also run what a subclass says. */
function copyOf(list: readonly unknown[]): unknown[] {
  switch (list.length) {
    case 0:
      return []
    case 1:
      return [list[0]]
    case 2:
      return [list[0], list[1]]
    case 3:
      return [list[0], list[1], list[2]]
    case 4:
      return [list[0], list[1], list[2], list[3]]
    default: {
      const copy: unknown[] = []
      for (let index = 0; index < list.length; index += 1) copy.push(list[index])
      return copy
    }
  }
}

function arrangeAll(parameters: Parameters, values: readonly unknown[]): readonly unknown[] {
  const arranged = new Array<unknown>(parameters.count).fill(null)
  let given = 0
  let next = 0
  let hasObject = false
  const add = (value: unknown): void => {
    assertBindable(value)
    const place = parameters.anonymous[next]
    if (place === undefined) throw new RangeError('Too many parameter values were provided')
    arranged[place] = value
    next += 1
    given += 1
  }
  for (const value of values) {
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index += 1) add(value[index])
    } else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) {
      if (isPlain(value)) {
        if (hasObject) throw new TypeError('You cannot specify named parameters in two different objects')
        hasObject = true
        for (const [name, place] of parameters.named) {
          if (!Object.hasOwn(value, name)) throw new RangeError(`Missing named parameter "${name}"`)
          const found: unknown = Reflect.get(value, name)
          assertBindable(found)
          arranged[place] = found
          given += 1
        }
      } else if (parameters.named.length > 0) {
        throw new TypeError('Named parameters can only be passed within plain objects')
      } else add(value)
    } else add(value)
  }
  if (given > parameters.count) throw new RangeError('Too many parameter values were provided')
  if (given < parameters.count) {
    if (!hasObject && parameters.named.length > 0) throw new TypeError('Missing named parameters')
    throw new RangeError('Too few parameter values were provided')
  }
  return arranged
}

function assertBindable(value: unknown): void {
  switch (typeof value) {
    case 'number':
    case 'string':
    case 'undefined':
      return
    case 'bigint':
      if (BigInt.asIntN(64, value) === value) return
      throw new RangeError('The bound string, buffer, or bigint is too big')
    case 'object':
      if (value === null || ArrayBuffer.isView(value)) return
      break
    default:
  }
  throw new TypeError('SQLite3 can only bind numbers, strings, bigints, buffers, and null')
}

/** Of this realm or another: `{}`, or without a prototype. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || (typeof prototype === 'object' && Object.getPrototypeOf(prototype) === null)
}
