/** Options as better-sqlite3 checks them. */
import { optionOf } from '../native.js'

/** The options object of a call: nothing given is an empty one. */
export function optionsOf(given: unknown, place: string): object {
  if (given === undefined || given === null) return {}
  if (typeof given !== 'object') throw new TypeError(`Expected ${place} argument to be an options object`)
  return given
}

/** An option that must be a boolean where it is there at all. */
export function booleanOption(options: object, name: string): boolean {
  if (!(name in options)) return false
  const value = optionOf(options, name)
  if (typeof value !== 'boolean') throw new TypeError(`Expected the "${name}" option to be a boolean`)
  return value
}

/** `safeIntegers` of functions: 0, 1, or 2 for what the database has. */
export function safeIntegersOption(options: object): number {
  return 'safeIntegers' in options ? Number(booleanOption(options, 'safeIntegers')) : 2
}

/** A function's number of parameters, which SQL must give exactly. */
export function lengthOf(given: object): number {
  const length = optionOf(given, 'length')
  if (typeof length === 'number' && Number.isInteger(length) && length >= 0) return length
  throw new TypeError('Expected function.length to be a positive integer')
}

const DETERMINISTIC = 1
const DIRECT_ONLY = 2

/** The flags of a function, as native code takes them. */
export function functionFlags(options: object): number {
  return (
    (booleanOption(options, 'deterministic') ? DETERMINISTIC : 0) |
    (booleanOption(options, 'directOnly') ? DIRECT_ONLY : 0)
  )
}

/** The name of an attached database. */
export function attachedOption(options: object): string {
  const name = 'attached' in options ? optionOf(options, 'attached') : 'main'
  if (typeof name !== 'string') throw new TypeError('Expected the "attached" option to be a string')
  if (name === '') throw new TypeError('The "attached" option cannot be an empty string')
  return name
}
