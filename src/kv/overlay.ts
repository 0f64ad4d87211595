/** Changes that are not committed yet, over one state of a store: what a transaction reads before anybody else does. */
import type { KvOperation } from '../native.js'
import { type Pair, type Selection, isWithin, pairsNow } from './range.js'
import type { Snapshot } from './snapshot.js'

interface Change {
  readonly key: Uint8Array
  /** `null` for a key that is removed. */
  readonly value: Uint8Array | null
}

/** By table, and in it by key: the last change of a key is the one that counts. */
type Changes = Map<string, Map<string, Change>>

/** Later layers lie over earlier ones; a layer is given up or becomes part of the one below. */
export class Overlay {
  readonly #below: Snapshot | Overlay
  readonly #changes: Changes = new Map()

  constructor(below: Snapshot | Overlay) {
    this.#below = below
  }

  get(table: string, key: Uint8Array): Uint8Array | undefined {
    const change = this.#changes.get(table)?.get(nameOf(key))
    if (change === undefined)
      return this.#below instanceof Overlay ? this.#below.get(table, key) : this.#below.read(table, key)
    return change.value ?? undefined
  }

  /** Key and value are the overlay's from now on. */
  set({ table, key, value }: KvOperation): void {
    let changes = this.#changes.get(table)
    if (changes === undefined) this.#changes.set(table, (changes = new Map<string, Change>()))
    changes.set(nameOf(key), { key, value })
  }

  /** As it is now: what is changed during the iteration is not seen by it. */
  *pairs(table: string, selection: Selection): Generator<Pair> {
    const changed = [...this.#changesOf(table).values()].filter(({ key }) => isWithin(selection, key))
    const direction = selection.reverse ? -1 : 1
    changed.sort((a, b) => direction * Buffer.compare(a.key, b.key))
    let left = selection.limit
    for (const pair of merge(this.#stored(table, selection), changed, direction)) {
      if (left-- <= 0) return
      yield pair
    }
  }

  /** Everything that changes, in no particular order: no key occurs twice. */
  operations(): KvOperation[] {
    return [...this.#changes].flatMap(([table, changes]) =>
      Array.from(changes.values(), ({ key, value }) => ({ table, key, value })),
    )
  }

  /** Lays the changes into the overlay below. */
  settle(): void {
    if (this.#below instanceof Overlay) for (const operation of this.operations()) this.#below.set(operation)
  }

  #changesOf(table: string): Map<string, Change> {
    const own = this.#changes.get(table) ?? new Map<string, Change>()
    return this.#below instanceof Overlay ? new Map([...this.#below.#changesOf(table), ...own]) : own
  }

  #stored(table: string, selection: Selection): Generator<Pair> {
    if (this.#below instanceof Overlay) return this.#below.#stored(table, selection)
    // A change may remove what is stored, so how much of it the limit lets through is not known yet.
    return pairsNow(this.#below.reader, table, { ...selection, limit: Infinity })
  }
}

/** Two runs in the same order as one; of equal keys the change counts, and a removed key is left out. */
function* merge(stored: Generator<Pair>, changed: readonly Change[], direction: 1 | -1): Generator<Pair> {
  const changes = changed.values()
  let next = changes.next()
  for (const pair of stored) {
    let isChanged = false
    for (; next.done !== true; next = changes.next()) {
      const { key, value } = next.value
      const order = direction * Buffer.compare(key, pair[0])
      if (order > 0) break
      isChanged ||= order === 0
      if (value !== null) yield [key, value]
    }
    if (!isChanged) yield pair
  }
  for (; next.done !== true; next = changes.next()) {
    const { key, value } = next.value
    if (value !== null) yield [key, value]
  }
}

/** A key as text, byte for character: what a Map compares. */
function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
