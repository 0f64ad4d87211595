/** Ways to the documents of a selection: which part of which index leads to them, and in which order. */
import { parseDocumentId } from '../ids.js'
import type { CheckedFilter, CheckedSelection } from '../query.js'
import { type Position, sortKeyOf } from '../sort-key.js'
import type { DocumentTable, IndexState } from './table.js'
import { boundsOfKind, documentKey, endOf, valueKey } from './keys.js'

/** Keys from the first, itself included, up to the second, which is not; nothing if they are not in this order. */
export interface Span {
  readonly from: Buffer
  readonly to: Buffer
}

export interface Route {
  readonly index: IndexState
  readonly span: Span
  /** The fields, from the first on, that the filters fix to one value. */
  readonly fixed: number
  /** The filters narrow the next field to a range. */
  readonly hasRange: boolean
  /** Its entries come in the order of the selection, from its position on. */
  readonly isOrdered: boolean
  /** The filters that not every document of the span satisfies. */
  readonly rest: readonly CheckedFilter[]
}

export interface Routes {
  /** The one that leaves the fewest documents, by what the filters say; `undefined` if none leaves any out. */
  readonly narrowest: Route | undefined
  /** The narrowest of those in the order of the selection. */
  readonly ordered: Route | undefined
}

export function routesOf(table: DocumentTable, selection: CheckedSelection, after: Position | undefined): Routes {
  const routes = table.indexes.map((index) => routeThrough(index, selection, after)).sort(narrowestFirst)
  return {
    narrowest: routes.find(({ fixed, hasRange }) => fixed > 0 || hasRange),
    ordered: routes.find(({ isOrdered }) => isOrdered),
  }
}

/** No key begins with the byte that ends it. */
export const EVERYTHING: Span = { from: Buffer.alloc(0), to: endOf(Buffer.alloc(0)) }

/** Every document, or those beyond a position in the order of ids. */
export function spanOfDocuments({ orderBy, descending }: CheckedSelection, after: Position | undefined): Span {
  return orderBy === undefined && after !== undefined ? beyond(EVERYTHING, keyOfId(after.id), descending) : EVERYTHING
}

/** What documents are sorted by: their place in the order of the selection. */
export function placeOf({ id, key }: Position): Buffer {
  return key === undefined ? keyOfId(id) : Buffer.concat([valueKey(key), keyOfId(id)])
}

function narrowestFirst(a: Route, b: Route): number {
  return b.fixed - a.fixed || Number(b.hasRange) - Number(a.hasRange)
}

function routeThrough(index: IndexState, selection: CheckedSelection, after: Position | undefined): Route {
  const { filters, orderBy, descending } = selection
  const used = new Set<CheckedFilter>()
  const values: Buffer[] = []
  for (const path of index.fields) {
    const filter = filters.find((candidate) => candidate.path === path && candidate.op === 'eq')
    if (filter === undefined) break
    used.add(filter)
    values.push(valueKey(sortKeyOf(filter.value)))
  }
  const fixed = values.length
  const prefix = Buffer.concat(values)
  let span: Span = { from: prefix, to: endOf(prefix) }
  const next = index.fields[fixed]
  for (const filter of filters) {
    const range = filter.path === next ? rangeOf(filter) : undefined
    if (range === undefined) continue
    used.add(filter)
    span = intersection(span, { from: Buffer.concat([prefix, range.from]), to: Buffer.concat([prefix, range.to]) })
  }
  const isById = orderBy === undefined && next === undefined
  const isByNext = orderBy !== undefined && orderBy === next && fixed === index.fields.length - 1
  const isOrdered = isById || isByNext
  if (isOrdered && after !== undefined) span = beyond(span, Buffer.concat([prefix, placeOf(after)]), descending)
  const rest = filters.filter((filter) => !used.has(filter))
  return { index, span, fixed, hasRange: used.size > fixed, isOrdered, rest }
}

/** The keys of the values that a filter admits, if they lie together. A range ends where its kind of value ends. */
function rangeOf({ op, value }: CheckedFilter): Span | undefined {
  if (typeof value !== 'number' && typeof value !== 'string') return undefined
  const key = valueKey(sortKeyOf(value))
  const { from, to } = boundsOfKind(typeof value === 'number' ? 'number' : 'string')
  switch (op) {
    case 'gt':
      return { from: endOf(key), to }
    case 'gte':
      return { from: key, to }
    case 'lt':
      return { from, to: key }
    case 'lte':
      return { from, to: endOf(key) }
    default:
      return undefined
  }
}

function intersection(a: Span, b: Span): Span {
  return {
    from: Buffer.compare(a.from, b.from) < 0 ? b.from : a.from,
    to: Buffer.compare(a.to, b.to) < 0 ? a.to : b.to,
  }
}

/** What of a span comes after a key in its direction. */
function beyond(span: Span, key: Buffer, descending: boolean): Span {
  // The least key that is greater ends in one zero byte more.
  const rest = descending ? { from: span.from, to: key } : { from: Buffer.concat([key, Buffer.from([0])]), to: span.to }
  return intersection(span, rest)
}

function keyOfId(id: string): Buffer {
  const parsed = parseDocumentId(id)
  if (parsed === undefined) throw new TypeError('a position has an id that is none')
  return documentKey(parsed)
}
