/** Filters and orders on the fields of a document, by the keys that an index would have of them. */
import { readField } from '../field-path.js'
import type { JsonObject } from '../json.js'
import type { CheckedFilter } from '../query.js'
import { sortKeyOf } from '../sort-key.js'
import { valueKey } from './keys.js'

export type Matches = (fields: JsonObject) => boolean

/** Whether fields satisfy all of the filters. */
export function compileFilters(filters: readonly CheckedFilter[]): Matches {
  const tests = filters.map(compileFilter)
  return (fields) => tests.every((test) => test(fields))
}

/** The key of the value at a path, split into its names. */
export function keyAt(fields: JsonObject, names: readonly string[]): Buffer {
  return valueKey(sortKeyOf(readField(fields, names)))
}

function compileFilter({ path, op, value }: CheckedFilter): Matches {
  const names = path.split('.')
  const wanted = valueKey(sortKeyOf(value))
  const compare = (fields: JsonObject): number | undefined => {
    const found = keyAt(fields, names)
    // Values of two kinds are neither equal nor one before the other.
    return found[0] === wanted[0] ? Buffer.compare(found, wanted) : undefined
  }
  switch (op) {
    case 'eq':
      return (fields) => compare(fields) === 0
    case 'neq':
      return (fields) => compare(fields) !== 0
    case 'gt':
      return (fields) => (compare(fields) ?? 0) > 0
    case 'gte':
      return (fields) => (compare(fields) ?? -1) >= 0
    case 'lt':
      return (fields) => (compare(fields) ?? 0) < 0
    case 'lte':
      return (fields) => (compare(fields) ?? 1) <= 0
  }
}
