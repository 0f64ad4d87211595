/** redb files, plain or sealed: named tables of bytes to bytes. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { guard } from './failure.js'
import type { Dek } from './keys.js'
import { KvTable } from './kv-table.js'
import { ABSENT, type Pair, concatenate, lengthOf, split, splitPairs } from './packed.js'
import { Requests } from './requests.js'
import { SharedBytes } from './shared-bytes.js'
import { type Findings, type VerifyOptions, found, longWork } from './work.js'

export interface KvEncryption {
  dek: Dek
  /** 16 bytes: the id that the file bears. */
  fileId: Uint8Array
  /** The generation of the DEK; recorded in a new file. */
  generation: bigint
}

export interface KvOptions {
  path: string
  /** `create`: the file must not exist; `open`: it must hold a database. */
  mode: 'open' | 'create'
  encryption?: KvEncryption | undefined
  /** The lock of `<path>.nimbus-lock`, if it is held already: the store's from now on, also if it cannot be opened. */
  lock?: Addon.FileLock | undefined
  /** Redb keeps no more bytes of the file than this for as long as it is open, also if the budget has more for it. */
  cacheBytes?: number | undefined
}

export interface KvBound {
  key: Uint8Array
  inclusive: boolean
}

/** Keys are ordered by their bytes; `from` is the lower bound in either direction, `reverse` begins at `to`. */
export interface KvRange {
  from?: KvBound | undefined
  to?: KvBound | undefined
  reverse?: boolean | undefined
  /** At least 1. */
  limit: number
  /** The last pair is the one with which keys and values reach so many bytes. At least 1. */
  mostBytes: number
}

/** In memory that nobody writes to: what is short shares 8 KiB with its neighbours. */
export interface KvPairs {
  pairs: Pair[]
  /** Whether the range has more: go on beyond the last key. */
  hasMore: boolean
}

export interface KvOperation {
  /** Made by the first operation that names it. */
  table: string
  key: Uint8Array
  /** `null` removes the key. */
  value: Uint8Array | null
}

export interface KvWriteOptions {
  /** `eventual`: seen at once, durable with the next immediate write, `flush` or `close`, or lost whole. */
  durability?: 'immediate' | 'eventual' | undefined
  /** Dropped before the first operation. */
  dropTables?: string[] | undefined
}

export interface KvStats {
  commits: number
  requests: number
  queued: number
  queuedBytes: number
  /** Pages of 4096 bytes, used or free. */
  pages: number
  fileBytes: number
  /** Absent if the file is plain. */
  sealed?: { fileId: Uint8Array; generation: bigint; epoch: number; rolledBack: boolean; sealedPages: number }
}

/** Tables that a store keeps ready for `get`; of more, whoever makes up names decides how much memory they take. */
const MOST_TABLES = 256

/** What reads: a store as of its last commit, or a snapshot of it. */
interface Readable {
  get(table: string, buffer: Uint8Array, keyBytes: number): number
  getMany(table: string, keys: Uint8Array, lengths: Uint32Array): Addon.NativePacked
}

/**
 * One open redb file. Reads run on this thread in microseconds; writes are committed in groups on a native thread. Throws
 * and rejects with `file_corrupt` (`detail.reason`), `key_wrong`, `disk_full`, `io_error`, `file_busy`, `shutting_down`. A
 * failure of the disk is final: close the store and open it again.
 */
export class KvStore {
  readonly #store: Addon.NativeKvStore
  readonly #requests: Requests<Addon.NativeKvCompletion>
  readonly #tables = new Map<string, KvTable>()
  readonly #sharedBytes = new SharedBytes()
  #isClosed = false

  private constructor(store: Addon.NativeKvStore, requests: Requests<Addon.NativeKvCompletion>) {
    this.#store = store
    this.#requests = requests
  }

  /**
   * Holds `<path>.nimbus-lock` until it is closed. Throws `data_missing`, `target_exists`, `file_corrupt`, `key_wrong`,
   * `file_busy` (with the owner's pid), `disk_full`, `data_dir_unwritable`, `io_error`.
   */
  static open(options: KvOptions): KvStore {
    const requests = new Requests<Addon.NativeKvCompletion>()
    return new KvStore(
      guard(() => addon.NativeKvStore.open(optionsOf(options), requests.settle)),
      requests,
    )
  }

  /** As `open`, on a native thread: a file that was not closed is read whole before it can be used. */
  static async openAsync(options: KvOptions): Promise<KvStore> {
    const requests = new Requests<Addon.NativeKvCompletion>()
    const opening: Addon.NativeKvOpening[] = []
    await requests.make((id) => opening.push(addon.NativeKvOpening.begin(id, optionsOf(options), requests.settle)))
    const [opened] = opening
    if (opened === undefined) throw new TypeError('an opening that has not begun has no end')
    return new KvStore(
      guard(() => opened.take()),
      requests,
    )
  }

  /** As of the last commit. A table that was never made is empty. */
  get(table: string, key: Uint8Array): Uint8Array | undefined {
    const known = this.#tables.get(table)
    if (known !== undefined) return known.get(key)
    // A table of a closed store would be nobody's to close; the store says itself that it is closed.
    return this.#isClosed ? get(this.#store, table, key, this.#sharedBytes) : this.#openTable(table).get(key)
  }

  /** As `get`, all from one state. */
  getMany(table: string, keys: Uint8Array[]): (Uint8Array | undefined)[] {
    return getMany(this.#store, table, keys)
  }

  /** The last commit, whatever is written later. Close it: pages that it needs are not used again before. */
  snapshot(): KvSnapshot {
    const snapshot = guard(() => this.#store.snapshot())
    return new KvSnapshot(snapshot, this.#sharedBytes, (table, range) =>
      this.#requests.make((id) => this.#store.range(id, snapshot, table, range)),
    )
  }

  /** Happens whole or not at all, after every write that was called before. Keys and values are copied. */
  async write(operations: KvOperation[], options: KvWriteOptions = {}): Promise<void> {
    const write = packedWrite(operations, options)
    await this.#requests.make((id) => this.#store.write(id, write))
  }

  /** As `write`, done when it returns: this thread waits for the disk. */
  writeSync(operations: KvOperation[], options: KvWriteOptions = {}): void {
    const write = packedWrite(operations, options)
    guard(() => this.#store.writeAndWait(write))
  }

  /** Waits, on this thread, until every write that was called so far has been committed or has failed. */
  settleSync(): void {
    guard(() => this.#store.settleAndWait())
  }

  /** Reads and checks everything. Snapshots must be closed; while it runs, reads fail with `file_busy`. */
  async check(): Promise<{ sound: boolean; damagedFreePages: number[] }> {
    const { integrity } = await this.#requests.make((id) => this.#store.check(id))
    return integrity ?? { sound: false, damagedFreePages: [] }
  }

  /**
   * Authenticates every page of a sealed file as it lies on the disk while the store is used. Writes wait only if a page fails, until
   * redb has told whether it uses that page. Rejects with `file_corrupt` for damage that no page is to blame for.
   */
  verify({ bytesPerSecond, ...options }: VerifyOptions): Promise<Findings> {
    return found(longWork(options, (onEvent) => this.#store.verify(bytesPerSecond, onEvent)))
  }

  /** Gives free space back; false if there was none. Snapshots must be closed; while it runs, reads fail with `file_busy`. */
  async compact(): Promise<boolean> {
    const { compacted } = await this.#requests.make((id) => this.#store.compact(id))
    return compacted ?? false
  }

  /** Makes every commit so far durable. */
  async flush(): Promise<void> {
    await this.#requests.make((id) => this.#store.flush(id))
  }

  get stats(): KvStats {
    return guard(() => this.#store.stats())
  }

  /** Finishes what is queued and closes, snapshots too; closing twice is harmless. */
  async close(): Promise<void> {
    const closing = this.#requests.make((id) => this.#store.close(id))
    // From now on the store refuses to read.
    this.#isClosed = true
    for (const table of this.#tables.values()) table.close()
    this.#tables.clear()
    await closing
  }

  #openTable(name: string): KvTable {
    const [oldest] = this.#tables
    if (oldest !== undefined && this.#tables.size >= MOST_TABLES) {
      const [oldestName, oldestTable] = oldest
      oldestTable.close()
      this.#tables.delete(oldestName)
    }
    const table = guard(
      () => new KvTable(this.#store, name, this.#sharedBytes, (key) => get(this.#store, name, key, this.#sharedBytes)),
    )
    this.#tables.set(name, table)
    return table
  }
}

function optionsOf({ path, mode, encryption, lock, cacheBytes }: KvOptions): Addon.NativeKvOptions {
  return {
    path,
    create: mode === 'create',
    ...encryption,
    ...(lock === undefined ? {} : { lock }),
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
  }
}

/** One state of a store. */
export class KvSnapshot {
  readonly #snapshot: Addon.NativeKvSnapshot
  readonly #sharedBytes: SharedBytes
  readonly #request: (table: string, range: Addon.NativeKvRange) => Promise<Addon.NativeKvCompletion>

  /** Made by `KvStore.snapshot`. */
  constructor(
    snapshot: Addon.NativeKvSnapshot,
    sharedBytes: SharedBytes,
    request: (table: string, range: Addon.NativeKvRange) => Promise<Addon.NativeKvCompletion>,
  ) {
    this.#snapshot = snapshot
    this.#sharedBytes = sharedBytes
    this.#request = request
  }

  get(table: string, key: Uint8Array): Uint8Array | undefined {
    return get(this.#snapshot, table, key, this.#sharedBytes)
  }

  getMany(table: string, keys: Uint8Array[]): (Uint8Array | undefined)[] {
    return getMany(this.#snapshot, table, keys)
  }

  /** Pairs in the order of their keys, read on this thread. */
  range(table: string, range: KvRange): KvPairs {
    return pairsOf(guard(() => this.#snapshot.range(table, rangeOf(range))))
  }

  /** The same, read on a native thread. */
  async rangeAsync(table: string, range: KvRange): Promise<KvPairs> {
    const { pairs } = await this.#request(table, rangeOf(range))
    return pairs === undefined ? { pairs: [], hasMore: false } : pairsOf(pairs)
  }

  tables(): string[] {
    return guard(() => this.#snapshot.tables())
  }

  /** Closing twice is harmless. */
  close(): void {
    this.#snapshot.close()
  }
}

/** Where key and value of a `get` cross. All calls of a thread share it: each leaves it before the next begins. */
let scratch = new Uint8Array(64 * 1024)
const LARGEST_SCRATCH = 1024 * 1024

function get(from: Readable, table: string, key: Uint8Array, sharedBytes: SharedBytes): Uint8Array | undefined {
  const keyBytes = lengthOf(key)
  let buffer = keyBytes > scratch.length ? new Uint8Array(2 * keyBytes) : scratch
  for (;;) {
    buffer.set(key)
    const length = guard(() => from.get(table, buffer, keyBytes))
    if (length < 0) return undefined
    const end = keyBytes + length
    if (end <= buffer.length) return sharedBytes.copy(buffer.subarray(keyBytes, end))
    // The value did not fit, and may be another one by the next call.
    buffer = new Uint8Array(end)
    if (end <= LARGEST_SCRATCH) scratch = buffer
  }
}

function getMany(from: Readable, table: string, keys: Uint8Array[]): (Uint8Array | undefined)[] {
  const bytes = concatenate(keys)
  const lengths = Uint32Array.from(keys, (key) => key.length)
  return split(guard(() => from.getMany(table, bytes, lengths)))
}

function packedWrite(operations: KvOperation[], { durability, dropTables = [] }: KvWriteOptions) {
  return { ...pack(operations), dropTables, eventual: durability === 'eventual' }
}

function pack(operations: KvOperation[]) {
  const indexes = new Map<string, number>()
  const layout = new Uint32Array(3 * operations.length)
  const strings: Uint8Array[] = []
  let place = 0
  for (const { table, key, value } of operations) {
    const index = indexes.get(table) ?? indexes.size
    indexes.set(table, index)
    layout[place++] = index
    layout[place++] = lengthOf(key)
    strings.push(key)
    layout[place++] = value === null ? ABSENT : lengthOf(value)
    if (value !== null) strings.push(value)
  }
  return { tables: [...indexes.keys()], layout, bytes: concatenate(strings) }
}

function rangeOf({ from, to, reverse = false, limit, mostBytes }: KvRange): Addon.NativeKvRange {
  if (!(limit >= 1) || !(mostBytes >= 1)) throw new RangeError('limit and mostBytes of a range must be at least 1')
  return {
    reverse,
    limit,
    mostBytes,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  }
}

function pairsOf(packed: Addon.NativePacked): KvPairs {
  return { pairs: splitPairs(packed), hasMore: packed.hasMore }
}
