/** The key-value store: named, ordered tables in one file, sealed or plain, that survives power loss. */
import { Dek, type FileLock, type KvOperation, type KvStats, type KvStore } from '../native.js'
import { type FileOptions, openStore } from './open.js'
import { Entries, type Pair, type RangeOptions, batchesLater, batchesNow, selectionOf } from './range.js'
import { Snapshot } from './snapshot.js'
import { Batch, Table, type TableOptions, type WriteOptions } from './table.js'
import type { Transaction } from './transaction.js'
import { Writer } from './writer.js'

export interface StoreOptions extends FileOptions {
  /** 32 bytes that the caller keeps. They are copied into locked native memory at once: wipe them then. */
  readonly key?: Uint8Array | undefined
}

/**
 * One open file, of this process alone. Errors by code: `file_corrupt` for what does not authenticate, `key_wrong`, `file_busy` with
 * the owner's pid, `disk_full`, `io_error`, `shutting_down` after `close`. After a failure of the disk the store has to be opened anew.
 *
 * @example
 * const store = await Store.open({ path: 'app.redb', key })
 * const users = store.table('users', { keys: utf8, values: json<User>() })
 * await users.put('ada', { name: 'Ada' })
 * for (const [id, user] of users.range({ prefix: 'a' })) console.log(id, user.name)
 */
export class Store {
  readonly path: string
  readonly #native: KvStore
  readonly #lock: FileLock
  readonly #writer: Writer

  private constructor(path: string, native: KvStore, lock: FileLock) {
    this.path = path
    this.#native = native
    this.#lock = lock
    this.#writer = new Writer(native)
  }

  /**
   * Opens the file, and makes it if it is not there.
   *
   * @throws `data_missing`, `target_exists` as `mode` says; `file_busy`, `key_wrong`, `file_corrupt`; `encrypted_but_disabled` for an
   * encrypted file without a key, `config_invalid` for a key with a file that is not under it; with a provider `manifest_missing`,
   * `manifest_altered`, `manifest_mismatch` and its own; `TypeError` for a key that is not 32 bytes.
   */
  static async open({ key, ...options }: StoreOptions): Promise<Store> {
    const dek = key && Dek.given(key)
    try {
      return await Store.openUnder(dek, options)
    } finally {
      // The store has a copy of what it needs.
      dek?.close()
    }
  }

  /** The same under a key that somebody keeps as a handle. */
  static async openUnder(dek: Dek | undefined, options: FileOptions): Promise<Store> {
    const { store, lock } = await openStore({ ...options, dek })
    return new Store(options.path, store, lock)
  }

  /** A table, whether it has been written to or not. */
  table<K, V>(name: string, options: TableOptions<K, V>): Table<K, V> {
    return new Table(name, options, this)
  }

  get<K, V>(table: Table<K, V>, key: K): V | undefined {
    const stored = this.#native.get(table.name, table.keyEncoding.encode(key))
    return stored === undefined ? undefined : table.takeValue(stored)
  }

  getMany<K, V>(table: Table<K, V>, keys: readonly K[]): (V | undefined)[] {
    const encoded = keys.map((key) => table.keyEncoding.encode(key))
    const stored = this.#native.getMany(table.name, encoded)
    return stored.map((value) => (value === undefined ? undefined : table.takeValue(value)))
  }

  range<K, V>(table: Table<K, V>, options: RangeOptions<K> = {}): Entries<[K, V]> {
    const selection = selectionOf(options, table.keyEncoding)
    const now = function* (this: Store): Generator<readonly Pair[]> {
      const snapshot = this.#native.snapshot()
      try {
        yield* batchesNow(snapshot, table.name, selection)
      } finally {
        snapshot.close()
      }
    }
    const later = async function* (this: Store): AsyncGenerator<readonly Pair[]> {
      const snapshot = this.#native.snapshot()
      try {
        yield* batchesLater(snapshot, table.name, selection)
      } finally {
        snapshot.close()
      }
    }
    return new Entries(now.bind(this), later.bind(this), table.takeEntry)
  }

  /** Writes that happen together or not at all. */
  batch(): Batch {
    return new Batch(this)
  }

  /**
   * Runs `work` alone on the state that all writes before it leave behind, and commits what it did together or not at all. It may run
   * in a later turn of the event loop, reads and writes synchronously, and may not be async.
   */
  transaction<R>(work: (transaction: Transaction) => R, options: WriteOptions = {}): Promise<R> {
    return this.#writer.transact(work, options)
  }

  /**
   * As `transaction`, now: after everything that was asked for so far, for all of which this thread waits.
   *
   * @throws what `work` throws; `TypeError` inside the function of another transaction
   */
  transactionSync<R>(work: (transaction: Transaction) => R, options: WriteOptions = {}): R {
    return this.#writer.transactSync(work, options)
  }

  /** The last commit, whatever is written later. */
  snapshot(): Snapshot {
    return new Snapshot(this.#native.snapshot())
  }

  /** Puts eventual writes on the disk. */
  async flush(): Promise<void> {
    await this.#writer.drain()
    await this.#native.flush()
  }

  /** Reads and authenticates everything. Snapshots must be closed, and reads fail with `file_busy` while it runs. */
  async check(): Promise<{ sound: boolean; damagedFreePages: number[] }> {
    await this.#writer.drain()
    return this.#native.check()
  }

  /** Gives free space back to the file system; false if there was none. As `check`, alone. */
  async compact(): Promise<boolean> {
    await this.#writer.drain()
    return this.#native.compact()
  }

  get stats(): KvStats {
    return this.#native.stats
  }

  /** Finishes what was asked for and closes; snapshots too. Closing twice is harmless. */
  async close(): Promise<void> {
    await this.#writer.drain()
    await this.#native.close()
    this.#lock.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  submit(operations: readonly KvOperation[], options: WriteOptions): Promise<void> {
    return this.#writer.write(operations, options)
  }

  submitSync(operations: readonly KvOperation[], options: WriteOptions): void {
    this.#writer.writeSync(operations, options)
  }

  async clear<K, V>(table: Table<K, V>, options: RangeOptions<K> = {}): Promise<void> {
    await this.transaction((transaction) => {
      for (const [key] of transaction.range(table, options)) transaction.del(table, key)
    })
  }
}
