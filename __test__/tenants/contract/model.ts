/** The contract of queries once more, in the plainest way: a sort and a filter over an array. */
import fc from 'fast-check'
import type { Filter, FilterOp, Order } from '../../../src/tenants/query.js'
import type { JsonObject, JsonValue } from '../../../src/tenants/json.js'

export interface ModelDocument {
  readonly id: string
  readonly fields: JsonObject
}

export function select(documents: readonly ModelDocument[], filters: readonly Filter[], order: Order): ModelDocument[] {
  const sign = order.direction === 'desc' ? -1 : 1
  return documents
    .filter(({ fields }) => filters.every((filter) => matches(fields, filter)))
    .sort((a, b) => {
      const { field } = order
      const byField = field === undefined ? 0 : compareValues(at(a.fields, field), at(b.fields, field))
      return sign * (byField || compareText(a.id, b.id))
    })
}

function matches(fields: JsonObject, { field, op, value }: Filter): boolean {
  const found = at(fields, field)
  const isSameKind = kindOf(found) === kindOf(value)
  const comparison = compareValues(found, value)
  switch (op) {
    case 'eq':
      return comparison === 0
    case 'neq':
      return comparison !== 0
    case 'gt':
      return isSameKind && comparison > 0
    case 'gte':
      return isSameKind && comparison >= 0
    case 'lt':
      return isSameKind && comparison < 0
    case 'lte':
      return isSameKind && comparison <= 0
  }
}

export function at(fields: JsonObject, path: string): JsonValue | undefined {
  let value: JsonValue | undefined = fields
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    value = Object.entries(value).find(([member]) => member === name)?.[1]
  }
  return value
}

const KINDS = ['number', 'string', 'false', 'true', 'container', 'null', 'missing'] as const

function kindOf(value: JsonValue | undefined): (typeof KINDS)[number] {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (typeof value === 'number') return 'number'
  if (typeof value === 'string') return 'string'
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  return 'container'
}

export function compareValues(a: JsonValue | undefined, b: JsonValue | undefined): number {
  if (typeof a === 'number' && typeof b === 'number') return Math.sign(a - b)
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  return KINDS.indexOf(kindOf(a)) - KINDS.indexOf(kindOf(b))
}

/** By code point. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Few values, so that they meet: neighbours in type and in order, and those that databases are known to confuse. */
const numbers = fc.constantFrom(-1.5, 0, 1, 2, 10, 0.1, 1e21, 2 ** 53, 2 ** 60, -(2 ** 70), 5e-324)
const strings = fc.constantFrom(
  '',
  '0',
  '1',
  '10',
  '2',
  'a',
  'A',
  'ab',
  'ä',
  '\u{ffff}',
  '\u{1f600}',
  'true',
  'null',
  '\'"\\',
)
const scalars = fc.oneof(numbers, strings, fc.boolean(), fc.constant(null))
const values: fc.Arbitrary<JsonValue> = fc.oneof(
  { weight: 6, arbitrary: scalars },
  { weight: 1, arbitrary: fc.constantFrom<JsonValue>([], [1], {}, { d: 1 }) },
)

export const PATHS = ['a', 'b', 'c.d', 'größe'] as const

export const fieldsArbitrary: fc.Arbitrary<JsonObject> = fc.record(
  { a: values, b: values, c: fc.oneof(fc.record({ d: values }, { requiredKeys: [] }), values), größe: values },
  { requiredKeys: [] },
)

const ranges = fc.constantFrom<FilterOp>('gt', 'gte', 'lt', 'lte')
const equalities = fc.constantFrom<FilterOp>('eq', 'neq')
const field = fc.constantFrom(...PATHS)

export const filterArbitrary: fc.Arbitrary<Filter> = fc.oneof(
  fc.record({ field, op: ranges, value: fc.oneof(numbers, strings) }),
  fc.record({ field, op: equalities, value: scalars }),
)

export const orderArbitrary: fc.Arbitrary<Order> = fc.record(
  { field, direction: fc.constantFrom('asc' as const, 'desc' as const) },
  { requiredKeys: [] },
)

/** No index, or some: what is indexed must not change any answer. */
export const indexesArbitrary = fc.constantFrom(
  [],
  [{ name: 'by_a', fields: ['a'] }],
  [
    { name: 'by_a_b', fields: ['a', 'b'] },
    { name: 'by_b', fields: ['b'] },
  ],
  PATHS.map((path, index) => ({ name: `by_${index}`, fields: [path] })),
)
