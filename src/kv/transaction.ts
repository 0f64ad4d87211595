/** What a transaction sees and does: the state before it, with its own changes over it. */
import { copyOf } from './copy.js'
import type { Overlay } from './overlay.js'
import { type RangeOptions, selectionOf } from './range.js'
import type { Table } from './table.js'

/** Valid while the function that it was given to runs. */
export class Transaction {
  #overlay: Overlay | undefined

  /** Made by `Store.transaction`. */
  constructor(overlay: Overlay) {
    this.#overlay = overlay
  }

  get<K, V>(table: Table<K, V>, key: K): V | undefined {
    const stored = this.#open().get(table.name, table.keyEncoding.encode(key))
    return stored === undefined ? undefined : table.valueEncoding.decode(stored)
  }

  /** Pairs in the order of their keys; what is changed during the iteration is not seen by it. */
  *range<K, V>(table: Table<K, V>, options: RangeOptions<K> = {}): Generator<[K, V], undefined> {
    const pairs = this.#open().pairs(table.name, selectionOf(options, table.keyEncoding))
    for (const pair of pairs) {
      yield table.entryOf(pair)
      this.#open()
    }
  }

  put<K, V>(table: Table<K, V>, key: K, value: V): this {
    const operation = table.toPut(key, value)
    // Copies: the caller may go on writing into what it handed over.
    this.#open().set({ ...operation, key: copyOf(operation.key), value: operation.value && copyOf(operation.value) })
    return this
  }

  del<K, V>(table: Table<K, V>, key: K): this {
    const operation = table.toDelete(key)
    this.#open().set({ ...operation, key: copyOf(operation.key) })
    return this
  }

  /** Later use is a mistake of the caller. */
  end(): void {
    this.#overlay = undefined
  }

  #open(): Overlay {
    if (this.#overlay === undefined) throw new TypeError('the transaction is over: its function has returned')
    return this.#overlay
  }
}
