/** A named table of a store, with keys and values of one type each. */
import type { KvOperation } from '../native.js'
import type { Encoding } from './encoding.js'
import { type Entries, type Pair, type RangeOptions } from './range.js'

export interface TableOptions<K, V> {
  readonly keys: Encoding<K>
  readonly values: Encoding<V>
}

export interface WriteOptions {
  /**
   * `immediate` (the default): on the disk when the promise is fulfilled, or the synchronous call returns. `eventual`: seen at once, and on the disk with the next
   * immediate write, `flush` or `close`; until then a power cut loses it whole.
   */
  readonly durability?: 'immediate' | 'eventual' | undefined
}

/** What a table does through its store. */
export interface TableStore {
  get<K, V>(table: Table<K, V>, key: K): V | undefined
  getMany<K, V>(table: Table<K, V>, keys: readonly K[]): (V | undefined)[]
  range<K, V>(table: Table<K, V>, options: RangeOptions<K>): Entries<[K, V]>
  submit(operations: KvOperation[], options: WriteOptions): Promise<void>
  submitSync(operations: KvOperation[], options: WriteOptions): void
  clear<K, V>(table: Table<K, V>, options: RangeOptions<K> | undefined): Promise<void>
}

/**
 * Reads are of the last commit, on the caller's thread and in microseconds. A table is made by its first write; before, and after
 * it was cleared, it is empty. The encodings are not recorded in the file: who opens it says them again.
 */
export class Table<K, V> {
  readonly name: string
  readonly keyEncoding: Encoding<K>
  readonly valueEncoding: Encoding<V>
  readonly #store: TableStore

  /** Made by `Store.table`. */
  constructor(name: string, { keys, values }: TableOptions<K, V>, store: TableStore) {
    if (typeof name !== 'string' || name === '') throw new TypeError('a table has a name that is not empty')
    this.name = name
    this.keyEncoding = keys
    this.valueEncoding = values
    this.#store = store
  }

  /** `undefined` if the key is not there. */
  get(key: K): V | undefined {
    return this.#store.get(this, key)
  }

  /** As `get`, all from one state, in the order of `keys`. */
  getMany(keys: readonly K[]): (V | undefined)[] {
    return this.#store.getMany(this, keys)
  }

  /** Fulfilled when the value is on the disk. Many puts at the same time share a commit. */
  async put(key: K, value: V, options: WriteOptions = {}): Promise<void> {
    await this.#store.submit([this.toPut(key, value)], options)
  }

  /** As `put`, done when it returns. This thread waits for the disk, so each has a commit of its own. */
  putSync(key: K, value: V, options: WriteOptions = {}): void {
    this.#store.submitSync([this.toPut(key, value)], options)
  }

  /** Of a key that is not there as well. */
  async del(key: K, options: WriteOptions = {}): Promise<void> {
    await this.#store.submit([this.toDelete(key)], options)
  }

  /** As `del`, done when it returns. */
  delSync(key: K, options: WriteOptions = {}): void {
    this.#store.submitSync([this.toDelete(key)], options)
  }

  /** Pairs in the order of their keys, of the state in which the iteration begins. `for` reads on this thread, `for await` not. */
  range(options: RangeOptions<K> = {}): Entries<[K, V]> {
    return this.#store.range(this, options)
  }

  /** Removes every key, or those of a range, in one transaction. */
  async clear(options?: RangeOptions<K>): Promise<void> {
    await this.#store.clear(this, options)
  }

  toPut(key: K, value: V): KvOperation {
    return { table: this.name, key: this.keyEncoding.encode(key), value: this.valueEncoding.encode(value) }
  }

  toDelete(key: K): KvOperation {
    return { table: this.name, key: this.keyEncoding.encode(key), value: null }
  }

  /** A value in memory that nobody writes to. */
  takeValue(stored: Uint8Array): V {
    return take(this.valueEncoding, stored)
  }

  /** A pair in memory that nobody writes to. */
  readonly takeEntry = ([key, value]: Pair): [K, V] => [take(this.keyEncoding, key), take(this.valueEncoding, value)]

  /** A pair of which somebody else may have the memory. */
  readonly entryOf = ([key, value]: Pair): [K, V] => [this.keyEncoding.decode(key), this.valueEncoding.decode(value)]
}

function take<T>(encoding: Encoding<T>, stored: Uint8Array): T {
  return encoding.take === undefined ? encoding.decode(stored) : encoding.take(stored)
}

/** Writes to several tables that happen together or not at all. */
export class Batch {
  #operations: KvOperation[] = []
  readonly #store: TableStore

  /** Made by `Store.batch`. */
  constructor(store: TableStore) {
    this.#store = store
  }

  /** How many writes it has. */
  get length(): number {
    return this.#operations.length
  }

  put<K, V>(table: Table<K, V>, key: K, value: V): this {
    this.#operations.push(table.toPut(key, value))
    return this
  }

  del<K, V>(table: Table<K, V>, key: K): this {
    this.#operations.push(table.toDelete(key))
    return this
  }

  /** In their order, so of two writes of a key the later one counts. The batch is empty afterwards, unless nothing was written. */
  async write(options: WriteOptions = {}): Promise<void> {
    const operations = this.#operations
    this.#operations = []
    try {
      await this.#store.submit(operations, options)
    } catch (error) {
      this.#operations = [...operations, ...this.#operations]
      throw error
    }
  }

  /** As `write`, done when it returns. */
  writeSync(options: WriteOptions = {}): void {
    this.#store.submitSync(this.#operations, options)
    this.#operations = []
  }
}
