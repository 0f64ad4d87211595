/** Queries: what a client may ask of a table, and everything about it that a JSON schema cannot check. */
import { NimbusError } from '../errors.js'
import { canonicalDateTime } from './datetime.js'
import { parseFieldPath } from './field-path.js'
import { type JsonValue, isStorableText } from './json.js'
import type { TableSchema } from './schema.js'

export const DEFAULT_LIMIT = 100
export const MAX_LIMIT = 1_000
const MAX_FILTERS = 32

export type FilterOp = 'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte'
export type FilterValue = string | number | boolean | null

export interface Filter {
  /** A field path. */
  readonly field: string
  readonly op: FilterOp
  readonly value: FilterValue
}

/** Without a field the order is by id, which is the order of insertion. Ties of a field are in order of id, the direction applying to both. */
export interface Order {
  readonly field?: string | undefined
  readonly direction?: 'asc' | 'desc' | undefined
}

/** A document must match every filter. */
export interface Selection {
  readonly table: string
  readonly filters?: readonly Filter[] | undefined
  readonly order?: Order | undefined
}

export interface Query extends Selection {
  /** 1 to 1,000; 100 if left out. */
  readonly limit?: number | undefined
}

export interface CheckedFilter {
  readonly path: string
  readonly op: FilterOp
  readonly value: FilterValue
}

/** A selection whose every part was checked against the contract. */
export interface CheckedSelection {
  readonly filters: readonly CheckedFilter[]
  /** The field path of the order; `undefined` for the order of ids. */
  readonly orderBy: string | undefined
  readonly descending: boolean
  /** What binds a cursor to the selection: the request's own words. */
  readonly shape: JsonValue
}

const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/
const DIRECTIONS = ['asc', 'desc'] as const
const RANGES = ['gt', 'gte', 'lt', 'lte'] as const
const OPS = ['eq', 'neq', ...RANGES] as const

/** The table's name itself, or `invalid_request`. */
export function checkTableName(name: string): string {
  if (TABLE_NAME.test(name)) return name
  throw invalid('table', `is not a table name: ${TABLE_NAME.source}`)
}

/** A limit or page size, 100 if left out; `invalid_request` outside 1 to 1,000. */
export function checkLimit(limit: number | undefined, where: 'limit' | 'page_size'): number {
  if (limit === undefined) return DEFAULT_LIMIT
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIMIT) return limit
  throw invalid(where, `is not an integer from 1 to ${MAX_LIMIT}`)
}

/**
 * Values for fields that the schema declares as datetimes are brought to the form in which those are stored.
 *
 * @throws `invalid_request` naming the part of the query that is wrong.
 */
export function checkSelection(selection: Selection, schema: TableSchema | undefined): CheckedSelection {
  const filters = selection.filters ?? []
  if (filters.length > MAX_FILTERS) throw invalid('filters', `has more than ${MAX_FILTERS} entries`)
  const { field = null, direction = 'asc' } = selection.order ?? {}
  if (field !== null) parseFieldPath(field, 'order.field')
  if (!DIRECTIONS.includes(direction)) throw invalid('order.direction', 'is neither asc nor desc')
  return {
    filters: filters.map((filter, index) => checkFilter(filter, `filters.${index}`, schema)),
    orderBy: field ?? undefined,
    descending: direction === 'desc',
    shape: [selection.table, filters.map(({ field, op, value }) => [field, op, value]), field, direction],
  }
}

function checkFilter({ field, op, value }: Filter, where: string, schema: TableSchema | undefined): CheckedFilter {
  parseFieldPath(field, `${where}.field`)
  if (!OPS.includes(op)) throw invalid(`${where}.op`, `is none of ${OPS.join(', ')}`)
  requireScalar(value, `${where}.value`)
  const isRange = RANGES.some((range) => range === op)
  if (isRange && typeof value !== 'string' && typeof value !== 'number') {
    throw invalid(`${where}.value`, `must be a string or a number for ${op}`)
  }
  if (typeof value !== 'string' || !isDateTime(field, schema)) return { path: field, op, value }
  const instant = canonicalDateTime(value)
  if (instant === undefined)
    throw invalid(`${where}.value`, `is compared with a datetime and is not an RFC 3339 date-time`)
  return { path: field, op, value: instant }
}

function isDateTime(path: string, schema: TableSchema | undefined): boolean {
  const fields = schema?.fields ?? {}
  return Object.hasOwn(fields, path) && fields[path]?.type === 'datetime'
}

function requireScalar(value: unknown, where: string): void {
  const isScalar =
    value === null ||
    typeof value === 'boolean' ||
    (typeof value === 'number' && Number.isFinite(value)) ||
    (typeof value === 'string' && isStorableText(value))
  if (!isScalar) throw invalid(where, 'is not a string of whole Unicode characters, a finite number, a boolean or null')
}

function invalid(where: string, what: string): NimbusError {
  return new NimbusError('invalid_request', `${where} ${what}`, { path: where })
}
