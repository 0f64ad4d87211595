/** Reading a selection so that neither its length nor the size of its documents decides how much memory it takes. */
import type { StoredDocument } from '../contract.js'
import { type Answer, MAX_ANSWER_BYTES, type Prepared } from '../open-tenant.js'
import type { CheckedFilter, CheckedSelection } from '../query.js'
import { type Position, sortKeyOf } from '../sort-key.js'
import { Best } from './best.js'
import { compileFilters, keyAt } from './filter.js'
import { documentKeyOf, valueKey } from './keys.js'
import { type Route, placeOf, routesOf, spanOfDocuments } from './route.js'
import type { Source } from './source.js'

/**
 * An index that leaves few documents is better than one that only has their order. How many it leaves is not known before its
 * entries have been counted: these are counted before the other way is taken.
 */
export const MOST_COUNTED = 10_000

/** The first `wanted` documents of a selection after a position, all of them from one state of the table. */
export async function readSelection(source: Source, prepared: Prepared, wanted: number): Promise<Answer> {
  const { checked, after } = withoutFixedOrder(prepared)
  const { narrowest, ordered } = routesOf(source.table, checked, after)
  const hasOrder = ordered !== undefined || checked.orderBy === undefined
  if (narrowest === undefined || (ordered !== undefined && ordered.fixed >= narrowest.fixed)) {
    if (ordered !== undefined) return walk(source, ordered, checked, wanted)
    return hasOrder ? walkDocuments(source, checked, after, wanted) : sort(source, undefined, checked, after, wanted)
  }
  if (!hasOrder) return sort(source, narrowest, checked, after, wanted)
  const keys = await count(source, narrowest)
  if (keys !== undefined) return pick(source, keys, narrowest, checked, after, wanted)
  return ordered === undefined ? walkDocuments(source, checked, after, wanted) : walk(source, ordered, checked, wanted)
}

/** An order by a field that the filters fix to one value is the order of ids. */
function withoutFixedOrder({ checked, after }: Prepared): Prepared {
  const { filters, orderBy } = checked
  const fixed = filters.find(({ path, op }) => path === orderBy && op === 'eq')
  if (fixed === undefined) return { checked, after }
  const isInside = after?.key === undefined || valueKey(after.key).equals(valueKey(sortKeyOf(fixed.value)))
  if (!isInside) return { checked, after }
  return { checked: { ...checked, orderBy: undefined }, after: after && { id: after.id, key: undefined } }
}

/** Along an index that has the order. */
async function walk(source: Source, route: Route, { descending }: CheckedSelection, wanted: number): Promise<Answer> {
  return take(satisfying(source.through(route, descending), source, route.rest), wanted)
}

/** Along the documents, in the order of ids. */
async function walkDocuments(
  source: Source,
  checked: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  const { filters, descending } = checked
  const expected = filters.length === 0 ? wanted : undefined
  const documents = source.documents(spanOfDocuments(checked, after), descending, expected)
  return take(satisfying(documents, source, filters), wanted)
}

/** Through all that an index leaves, or all there are, keeping the first in the order. */
async function sort(
  source: Source,
  route: Route | undefined,
  checked: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  const documents =
    route === undefined ? source.documents(spanOfDocuments(checked, undefined), false) : source.through(route, false)
  return best(documents, source, route?.rest ?? checked.filters, checked, after, wanted)
}

/** The keys of the documents that an index leaves, in the order of ids; `undefined` if they are too many. */
async function count(source: Source, route: Route): Promise<Buffer[] | undefined> {
  const keys: Buffer[] = []
  for await (const entry of source.entries(route, false)) {
    if (keys.length === MOST_COUNTED) return undefined
    // A copy, for the entry holds the memory of its whole batch.
    keys.push(Buffer.from(documentKeyOf(entry)))
  }
  return keys.sort((a, b) => Buffer.compare(a, b))
}

async function pick(
  source: Source,
  keys: Buffer[],
  { rest }: Route,
  checked: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  if (checked.orderBy !== undefined) return best(source.named(keys), source, rest, checked, after, wanted)
  const { from, to } = spanOfDocuments(checked, after)
  const within = keys.filter((key) => Buffer.compare(from, key) <= 0 && Buffer.compare(key, to) < 0)
  return take(satisfying(source.named(checked.descending ? within.reverse() : within), source, rest), wanted)
}

async function* satisfying(
  documents: AsyncIterable<StoredDocument>,
  source: Source,
  filters: readonly CheckedFilter[],
): AsyncGenerator<StoredDocument> {
  const matches = filters.length === 0 ? undefined : compileFilters(filters)
  for await (const document of documents) {
    if (matches === undefined || matches(source.fieldsOf(document))) yield document
  }
}

/** The first of documents that come in order. */
async function take(documents: AsyncIterable<StoredDocument>, wanted: number): Promise<Answer> {
  const taken: StoredDocument[] = []
  let bytes = 0
  for await (const document of documents) {
    bytes += Buffer.byteLength(document.fieldsJson)
    if (bytes > MAX_ANSWER_BYTES && taken.length > 0) return { documents: taken, isCut: true }
    if (taken.push(document) === wanted) break
  }
  return { documents: taken, isCut: false }
}

/** The first of documents that come in any order. */
async function best(
  documents: AsyncIterable<StoredDocument>,
  source: Source,
  filters: readonly CheckedFilter[],
  { orderBy, descending }: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  const matches = compileFilters(filters)
  const names = orderBy?.split('.')
  const first = new Best(wanted, MAX_ANSWER_BYTES, descending, after && placeOf(after))
  for await (const document of documents) {
    const fields = source.fieldsOf(document)
    if (!matches(fields)) continue
    const id = placeOf({ id: document.id, key: undefined })
    first.offer(names === undefined ? id : Buffer.concat([keyAt(fields, names), id]), document)
  }
  return first.answer()
}
