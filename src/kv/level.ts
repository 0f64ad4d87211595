/** `@nimbus/storage/level`: a store as an abstract-level database. */
import {
  type AbstractBatchOperation,
  type AbstractBatchOptions,
  type AbstractChainedBatch,
  type AbstractDatabaseOptions,
  type AbstractDelOptions,
  AbstractLevel,
  type AbstractPutOptions,
  AbstractSnapshot,
} from 'abstract-level'
import type { KeyProviderOption } from '../keys/option.js'
import { Dek, type KvOperation } from '../native.js'
import { bytes } from './encoding.js'
import { LevelIterator, type LevelIteratorOptions, type LevelRange, rangeOf } from './level-iterator.js'
import type { Snapshot } from './snapshot.js'
import { Store } from './store.js'
import type { Table, WriteOptions } from './table.js'

export interface NimbusLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** 32 bytes, copied into locked native memory by the constructor: wipe them then. Without key and provider the file is plain. */
  readonly key?: Uint8Array | undefined
  readonly keyProvider?: KeyProviderOption | undefined
  /** With a provider: whose file it is; without it, the file's name before its extension. */
  readonly name?: string | undefined
}

/** Of `put`, `del` and `batch`; `sync: false` makes it eventual. LevelDB's default is the other one: here nothing is acknowledged and then lost. */
export interface LevelWriteOptions {
  readonly sync?: boolean | undefined
}

interface LevelReadOptions {
  readonly snapshot?: LevelSnapshot | undefined
}

type LevelOperation =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

const TABLE = 'level'

const MANIFEST = {
  createIfMissing: true,
  errorIfExists: true,
  explicitSnapshots: true,
  getSync: true,
  has: true,
  implicitSnapshots: true,
  permanence: true,
  seek: true,
  encodings: { view: true },
}

/**
 * `location` is a file, of this process alone while it is open. Errors have abstract-level's codes, and the `NimbusError` as their cause.
 *
 * @example
 * const db = new NimbusLevel('app.redb', { key, valueEncoding: 'json' })
 * await db.put('ada', { name: 'Ada' })
 */
export class NimbusLevel<K = string, V = string> extends AbstractLevel<Uint8Array, K, V> {
  readonly location: string
  readonly #dek: Dek | undefined
  readonly #keyProvider: KeyProviderOption | undefined
  readonly #name: string | undefined
  #opened: { readonly store: Store; readonly table: Table<Uint8Array, Uint8Array> } | undefined

  constructor(location: string, options: NimbusLevelOptions<K, V> = {}) {
    // What abstract-level is given it keeps for as long as the database is.
    const { key, keyProvider, name, ...rest } = options
    super(MANIFEST, rest)
    if (typeof location !== 'string' || location === '') throw new TypeError('location must be the path of a file')
    this.location = location
    this.#dek = key && Dek.given(key)
    this.#keyProvider = keyProvider
    this.#name = name
  }

  override put(key: K, value: V): Promise<void>
  override put<KO = K, VO = V>(
    key: KO,
    value: VO,
    options: AbstractPutOptions<KO, VO> & LevelWriteOptions,
  ): Promise<void>
  override put<KO, VO>(
    key: KO,
    value: VO,
    options: AbstractPutOptions<KO, VO> & LevelWriteOptions = {},
  ): Promise<void> {
    return super.put(key, value, options)
  }

  override del(key: K): Promise<void>
  override del<KO = K>(key: KO, options: AbstractDelOptions<KO> & LevelWriteOptions): Promise<void>
  override del<KO>(key: KO, options: AbstractDelOptions<KO> & LevelWriteOptions = {}): Promise<void> {
    return super.del(key, options)
  }

  override batch(operations: AbstractBatchOperation<this, K, V>[]): Promise<void>
  override batch<KO = K, VO = V>(
    operations: AbstractBatchOperation<this, KO, VO>[],
    options: AbstractBatchOptions<KO, VO> & LevelWriteOptions,
  ): Promise<void>
  override batch(): AbstractChainedBatch<this, K, V>
  override batch<KO, VO>(
    ...values:
      | []
      | [operations: AbstractBatchOperation<this, KO, VO>[], options?: AbstractBatchOptions<KO, VO> & LevelWriteOptions]
  ): Promise<void> | AbstractChainedBatch<this, K, V> {
    // How many there are tells abstract-level which of the two is meant.
    if (values.length === 0) return super.batch()
    const [operations, options = {}] = values
    return super.batch(operations, options)
  }

  async _open({ createIfMissing, errorIfExists }: { createIfMissing: boolean; errorIfExists: boolean }): Promise<void> {
    const store = await Store.openUnder(this.#dek, {
      path: this.location,
      mode: errorIfExists ? 'create' : createIfMissing ? undefined : 'open',
      keyProvider: this.#keyProvider,
      name: this.#name,
    })
    this.#opened = { store, table: store.table(TABLE, { keys: bytes, values: bytes }) }
  }

  async _close(): Promise<void> {
    await this.#opened?.store.close()
    this.#opened = undefined
  }

  async _get(key: Uint8Array, options: LevelReadOptions): Promise<Uint8Array | undefined> {
    return this.#read(key, options)
  }

  _getSync(key: Uint8Array, options: LevelReadOptions): Uint8Array | undefined {
    return this.#read(key, options)
  }

  async _getMany(keys: Uint8Array[], { snapshot }: LevelReadOptions): Promise<(Uint8Array | undefined)[]> {
    const { store, table } = this.#open()
    return (snapshot?.state ?? store).getMany(table, keys)
  }

  async _has(key: Uint8Array, options: LevelReadOptions): Promise<boolean> {
    return this.#read(key, options) !== undefined
  }

  async _hasMany(keys: Uint8Array[], options: LevelReadOptions): Promise<boolean[]> {
    return (await this._getMany(keys, options)).map((value) => value !== undefined)
  }

  async _put(key: Uint8Array, value: Uint8Array, options: LevelWriteOptions): Promise<void> {
    const { store, table } = this.#open()
    await store.submit([table.toPut(key, value)], durabilityOf(options))
  }

  async _del(key: Uint8Array, options: LevelWriteOptions): Promise<void> {
    const { store, table } = this.#open()
    await store.submit([table.toDelete(key)], durabilityOf(options))
  }

  async _batch(operations: readonly LevelOperation[], options: LevelWriteOptions): Promise<void> {
    const { store, table } = this.#open()
    const submitted = operations.map((operation) =>
      operation.type === 'put' ? table.toPut(operation.key, operation.value) : table.toDelete(operation.key),
    )
    await store.submit(submitted, durabilityOf(options))
  }

  async _clear(options: LevelRange & LevelReadOptions): Promise<void> {
    const { store, table } = this.#open()
    const range = rangeOf(options)
    const { snapshot } = options
    if (snapshot === undefined) return store.clear(table, range)
    const deleted: KvOperation[] = []
    for (const [key] of snapshot.state.range(table, range)) deleted.push(table.toDelete(key))
    await store.submit(deleted, {})
  }

  _iterator(options: LevelIteratorOptions & LevelReadOptions): LevelIterator<this> {
    const { store, table } = this.#open()
    const { snapshot } = options
    return snapshot === undefined
      ? new LevelIterator(this, options, table, store.snapshot(), true)
      : new LevelIterator(this, options, table, snapshot.state, false)
  }

  _snapshot(options: { readonly owner: object }): LevelSnapshot {
    return new LevelSnapshot(options, this.#open().store.snapshot())
  }

  #read(key: Uint8Array, { snapshot }: LevelReadOptions): Uint8Array | undefined {
    const { store, table } = this.#open()
    return (snapshot?.state ?? store).get(table, key)
  }

  #open(): { readonly store: Store; readonly table: Table<Uint8Array, Uint8Array> } {
    if (this.#opened === undefined) throw new TypeError('abstract-level calls an open database only')
    return this.#opened
  }
}

/** Its typings leave out that it wants to know its owner. */
const OwnedSnapshot: new (options: { readonly owner: object }) => AbstractSnapshot = AbstractSnapshot

class LevelSnapshot extends OwnedSnapshot {
  readonly state: Snapshot

  constructor(options: { readonly owner: object }, state: Snapshot) {
    super(options)
    this.state = state
  }

  async _close(): Promise<void> {
    this.state.close()
  }
}

function durabilityOf({ sync }: LevelWriteOptions): WriteOptions {
  return { durability: sync === false ? 'eventual' : 'immediate' }
}
