/** What abstract-level's iterators read: one state, a batch at a time, and from another key on after a `seek`. */
import { AbstractIterator } from 'abstract-level'
import { Batches, type Pair, type RangeOptions, type Selection, selectionOf } from './range.js'
import type { Snapshot } from './snapshot.js'
import type { Table } from './table.js'

/** As abstract-level hands it over: encoded, and -1 for no limit. */
export interface LevelRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
  readonly reverse: boolean
  readonly limit: number
}

export interface LevelIteratorOptions extends LevelRange {
  readonly keys: boolean
  readonly values: boolean
}

type Entry = [key: Uint8Array | undefined, value: Uint8Array | undefined]

/** Abstract-level prefers the inclusive bound where both are given; our own ranges refuse that. */
export function rangeOf({ gt, gte, lt, lte, reverse, limit }: LevelRange): RangeOptions<Uint8Array> {
  return {
    ...(gte === undefined ? { gt } : { gte }),
    ...(lte === undefined ? { lt } : { lte }),
    reverse,
    limit: limit < 0 ? Infinity : limit,
  }
}

export class LevelIterator<Database> extends AbstractIterator<Database, Uint8Array, Uint8Array> {
  readonly #table: Table<Uint8Array, Uint8Array>
  readonly #snapshot: Snapshot
  readonly #ownsSnapshot: boolean
  readonly #selection: Selection
  readonly #wants: { readonly keys: boolean; readonly values: boolean }
  #batches: Batches
  #read: Pair[] = []
  #place = 0
  #isFirst = true

  constructor(
    database: Database,
    options: LevelIteratorOptions,
    table: Table<Uint8Array, Uint8Array>,
    snapshot: Snapshot,
    ownsSnapshot: boolean,
  ) {
    super(database, options)
    this.#table = table
    this.#snapshot = snapshot
    this.#ownsSnapshot = ownsSnapshot
    this.#selection = selectionOf(rangeOf(options), table.keyEncoding)
    this.#wants = options
    this.#batches = new Batches(this.#selection)
  }

  async _next(): Promise<Entry | undefined> {
    if (this.#place === this.#read.length) await this.#fill()
    const pair = this.#read[this.#place++]
    return pair && this.#entryOf(pair)
  }

  async _nextv(size: number): Promise<Entry[]> {
    if (this.#place === this.#read.length) await this.#fill(size)
    const pairs = this.#read.slice(this.#place, this.#place + size)
    this.#place += pairs.length
    return pairs.map((pair) => this.#entryOf(pair))
  }

  async _all(): Promise<Entry[]> {
    const entries: Entry[] = []
    for (let more = await this._nextv(Infinity); more.length > 0; more = await this._nextv(Infinity))
      entries.push(...more)
    return entries
  }

  _seek(target: Uint8Array): void {
    const { from, to, reverse } = this.#selection
    const bound = { key: target, inclusive: true }
    const isBefore = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) < 0
    const span = reverse
      ? { from, to: to === undefined || isBefore(target, to.key) ? bound : to }
      : { from: from === undefined || isBefore(from.key, target) ? bound : from, to }
    this.#batches = new Batches({ ...span, reverse, limit: this.limit - this.count })
    this.#read = []
    this.#place = 0
  }

  async _close(): Promise<void> {
    if (this.#ownsSnapshot) this.#snapshot.close()
  }

  /** The first batch is small and read on this thread: handing it to another would take longer. */
  async #fill(wanted?: number): Promise<void> {
    const range = this.#batches.next(wanted)
    this.#place = 0
    this.#read = []
    if (range === undefined) return
    const { reader } = this.#snapshot
    const answer = this.#isFirst
      ? reader.range(this.#table.name, range)
      : await reader.rangeAsync(this.#table.name, range)
    this.#isFirst = false
    this.#batches.took(answer)
    this.#read = answer.pairs
  }

  #entryOf([key, value]: Pair): Entry {
    return [this.#wants.keys ? key : undefined, this.#wants.values ? value : undefined]
  }
}
