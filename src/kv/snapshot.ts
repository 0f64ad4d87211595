/** One state of a store: the last commit when it was taken, whatever is written later. */
import type { KvSnapshot } from '../native.js'
import { Entries, type RangeOptions, batchesLater, batchesNow, selectionOf } from './range.js'
import type { Table } from './table.js'

/** Close it: the pages of its state are not used again before, and the file grows meanwhile. */
export class Snapshot {
  /** Below the encodings. */
  readonly reader: KvSnapshot

  /** Made by `Store.snapshot`. */
  constructor(reader: KvSnapshot) {
    this.reader = reader
  }

  /** `undefined` if the key is not there. */
  get<K, V>(table: Table<K, V>, key: K): V | undefined {
    const stored = this.read(table.name, table.keyEncoding.encode(key))
    return stored === undefined ? undefined : table.takeValue(stored)
  }

  getMany<K, V>(table: Table<K, V>, keys: readonly K[]): (V | undefined)[] {
    const encoded = keys.map((key) => table.keyEncoding.encode(key))
    const stored = this.reader.getMany(table.name, encoded)
    return stored.map((value) => (value === undefined ? undefined : table.takeValue(value)))
  }

  /** In the order of the keys. */
  range<K, V>(table: Table<K, V>, options: RangeOptions<K> = {}): Entries<[K, V]> {
    const selection = selectionOf(options, table.keyEncoding)
    return new Entries(
      () => batchesNow(this.reader, table.name, selection),
      () => batchesLater(this.reader, table.name, selection),
      table.takeEntry,
    )
  }

  /** The names of all tables that were ever written to and not cleared since. */
  tables(): string[] {
    return this.reader.tables()
  }

  /** Closing twice is harmless. */
  close(): void {
    this.reader.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  read(table: string, key: Uint8Array): Uint8Array | undefined {
    return this.reader.get(table, key)
  }
}
