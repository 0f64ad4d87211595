/** Ranges of keys: what may be asked for, and an answer that is read a batch at a time. */
import type { KvBound, KvPairs, KvRange } from '../native.js'
import { copyOf } from './copy.js'
import type { Encoding } from './encoding.js'

/** In the order of the keys' bytes. `prefix` goes without the bounds. */
export interface RangeOptions<K> {
  readonly gt?: K | undefined
  readonly gte?: K | undefined
  readonly lt?: K | undefined
  readonly lte?: K | undefined
  /** Keys whose bytes begin with those of this one. */
  readonly prefix?: K | undefined
  /** The largest key first. */
  readonly reverse?: boolean | undefined
  /** So many at most; without it, all. */
  readonly limit?: number | undefined
}

/** The bounds as bytes. */
export interface Span {
  readonly from: KvBound | undefined
  readonly to: KvBound | undefined
}

export interface Selection extends Span {
  readonly reverse: boolean
  readonly limit: number
}

export type Pair = KvPairs['pairs'][number]

/** One state of the store, whoever holds it. */
export interface PairReader {
  range(table: string, range: KvRange): KvPairs
  rangeAsync(table: string, range: KvRange): Promise<KvPairs>
}

/** @throws `TypeError`, `RangeError` naming the option */
export function selectionOf<K>(options: RangeOptions<K>, keys: Encoding<K>): Selection {
  const { gt, gte, lt, lte, prefix, reverse = false, limit = Infinity } = options
  if (!(limit >= 0)) throw new RangeError('limit must be a number of at least 0')
  if (gt !== undefined && gte !== undefined) throw new TypeError('gt and gte are one bound: give one of them')
  if (lt !== undefined && lte !== undefined) throw new TypeError('lt and lte are one bound: give one of them')
  if (prefix !== undefined) {
    if ([gt, gte, lt, lte].some((bound) => bound !== undefined))
      throw new TypeError('prefix goes without gt, gte, lt and lte')
    return { ...spanOfPrefix(keys.encode(prefix)), reverse, limit }
  }
  return { from: bound(gt, gte, keys), to: bound(lt, lte, keys), reverse, limit }
}

export function isWithin({ from, to }: Span, key: Uint8Array): boolean {
  return isPast(from, key, 1) && isPast(to, key, -1)
}

/** Read while it is iterated, `for` on this thread and `for await` on native ones; each iteration begins anew. */
export class Entries<T> implements Iterable<T>, AsyncIterable<T> {
  readonly #now: () => Generator<readonly Pair[]>
  readonly #later: () => AsyncGenerator<readonly Pair[]>
  readonly #decode: (pair: Pair) => T

  constructor(
    now: () => Generator<readonly Pair[]>,
    later: () => AsyncGenerator<readonly Pair[]>,
    decode: (pair: Pair) => T,
  ) {
    this.#now = now
    this.#later = later
    this.#decode = decode
  }

  [Symbol.iterator](): IterableIterator<T, undefined> {
    return new Iteration(this.#now(), this.#decode)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, undefined> {
    for await (const pairs of this.#later()) for (const pair of pairs) yield this.#decode(pair)
  }
}

/** What a generator would do, at a fifth of its cost for each pair. */
class Iteration<T> implements IterableIterator<T, undefined> {
  readonly #batches: Generator<readonly Pair[]>
  readonly #decode: (pair: Pair) => T
  #pairs: readonly Pair[] = []
  #place = 0

  constructor(batches: Generator<readonly Pair[]>, decode: (pair: Pair) => T) {
    this.#batches = batches
    this.#decode = decode
  }

  next(): IteratorResult<T, undefined> {
    const pair = this.#pairs[this.#place] ?? this.#nextBatch()
    if (pair === undefined) return { done: true, value: undefined }
    this.#place += 1
    try {
      return { done: false, value: this.#decode(pair) }
    } catch (error) {
      // Nobody asks an iterator that threw to end.
      this.return()
      throw error
    }
  }

  return(): IteratorReturnResult<undefined> {
    this.#pairs = []
    this.#batches.return(undefined)
    return { done: true, value: undefined }
  }

  [Symbol.iterator](): this {
    return this
  }

  #nextBatch(): Pair | undefined {
    this.#place = 0
    do {
      const next = this.#batches.next()
      this.#pairs = next.done === true ? [] : next.value
      if (next.done === true) return undefined
    } while (this.#pairs.length === 0)
    return this.#pairs[0]
  }
}

/** For the helpers that newer versions of Node have for every iterator. */
Reflect.setPrototypeOf(Iteration.prototype, Reflect.getPrototypeOf(Reflect.getPrototypeOf([].values()) ?? {}))

/** A first batch is small, since many a range is cut short; later ones are as large as keeps memory low. */
const FIRST_BATCH = 64
const LARGEST_BATCH = 4096
const BATCH_BYTES = 256 * 1024

/** The pairs of a selection, of one state, one by one. */
export function* pairsNow(reader: PairReader, table: string, selection: Selection): Generator<Pair> {
  for (const pairs of batchesNow(reader, table, selection)) yield* pairs
}

/** The same, as they are read. */
export function* batchesNow(reader: PairReader, table: string, selection: Selection): Generator<readonly Pair[]> {
  const batches = new Batches(selection)
  for (let range = batches.next(); range !== undefined; range = batches.next()) {
    const answer = reader.range(table, range)
    batches.took(answer)
    yield answer.pairs
  }
}

/** The same. The next batch is read while the one before is worked on. */
export async function* batchesLater(
  reader: PairReader,
  table: string,
  selection: Selection,
): AsyncGenerator<readonly Pair[]> {
  const batches = new Batches(selection)
  const read = (): Promise<KvPairs> | undefined => {
    const range = batches.next()
    return range && reader.rangeAsync(table, range)
  }
  let reading = read()
  try {
    while (reading !== undefined) {
      const answer = await reading
      batches.took(answer)
      reading = read()
      yield answer.pairs
    }
  } finally {
    // Nobody waits for the batch that was read ahead, so nobody else would see it fail.
    reading?.catch(() => undefined)
  }
}

/** Which part of a selection is read next. */
export class Batches {
  #rest: Selection | undefined
  #size = FIRST_BATCH

  constructor(selection: Selection) {
    this.#rest = isEmpty(selection) ? undefined : selection
  }

  /** `undefined` at the end. `wanted` pairs are enough this time. */
  next(wanted = LARGEST_BATCH): KvRange | undefined {
    if (this.#rest === undefined) return undefined
    const { from, to, reverse, limit } = this.#rest
    return { from, to, reverse, limit: Math.min(this.#size, limit, Math.max(wanted, 1)), mostBytes: BATCH_BYTES }
  }

  took({ pairs, hasMore }: KvPairs): void {
    const last = pairs.at(-1)?.[0]
    if (this.#rest === undefined) return
    const limit = this.#rest.limit - pairs.length
    this.#size = Math.min(4 * this.#size, LARGEST_BATCH)
    if (last === undefined || !hasMore || limit <= 0) this.#rest = undefined
    else this.#rest = { ...this.#rest, ...beyond(this.#rest, last), limit }
  }
}

/** What of a span comes after this key in the order of reading. */
function beyond({ from, to, reverse }: Selection, key: Uint8Array): Span {
  const bound = { key: copyOf(key), inclusive: false }
  return reverse ? { from, to: bound } : { from: bound, to }
}

function isEmpty({ from, to, limit }: Selection): boolean {
  if (limit === 0) return true
  if (from === undefined || to === undefined) return false
  const order = Buffer.compare(from.key, to.key)
  return order > 0 || (order === 0 && !(from.inclusive && to.inclusive))
}

function isPast(bound: KvBound | undefined, key: Uint8Array, side: 1 | -1): boolean {
  if (bound === undefined) return true
  const order = Buffer.compare(key, bound.key) * side
  return order > 0 || (order === 0 && bound.inclusive)
}

function bound<K>(exclusive: K | undefined, inclusive: K | undefined, keys: Encoding<K>): KvBound | undefined {
  if (exclusive !== undefined) return { key: keys.encode(exclusive), inclusive: false }
  return inclusive === undefined ? undefined : { key: keys.encode(inclusive), inclusive: true }
}

/** Up to the smallest key that is larger than every key with the prefix; there is none above a run of 0xff. */
function spanOfPrefix(prefix: Uint8Array): Span {
  const from = { key: prefix, inclusive: true }
  const place = prefix.findLastIndex((byte) => byte !== 0xff)
  if (place === -1) return { from, to: undefined }
  const end = copyOf(prefix, place + 1)
  end[place] = (end[place] ?? 0) + 1
  return { from, to: { key: end, inclusive: false } }
}
