/** `@nimbus/storage/keyv`: a store as a storage adapter of Keyv 5. */
import { EventEmitter } from 'node:events'
import type { Encoding } from './encoding.js'
import { bytes, utf8 } from './encoding.js'
import { Store, type StoreOptions } from './store.js'
import type { Table } from './table.js'

/** A store to open and to close with the adapter, or one that is open and stays so: then several adapters share it. */
export type KeyvNimbusOptions = (StoreOptions | { readonly store: Store }) & {
  /** `keyv` without it. Namespaces share a table. */
  readonly table?: string | undefined
}

const KEYV_TABLE = 'keyv'
/** Milliseconds since 1970 after which an entry is gone, before its value; 0 for never. */
const EXPIRES_BYTES = 8

interface Entry {
  readonly value: string
  readonly expiresMs: number
}

/**
 * Opened at its first use. Keyv gives it text and its own expiry lies within; `ttl` is kept besides, so that `iterator` and `has`
 * know of it too, and an entry that has expired is removed when it is met.
 *
 * @example
 * const cache = new Keyv({ store: new KeyvNimbus({ path: 'cache.redb', key }) })
 */
export class KeyvNimbus extends EventEmitter {
  /** Keyv makes an iterator only for adapters whose dialect it knows; what else a dialect means is nobody's business here. */
  readonly opts = { dialect: 'sqlite', url: 'nimbus' }
  namespace: string | undefined
  readonly #options: KeyvNimbusOptions
  #opened: Promise<{ readonly store: Store; readonly table: Table<string, Entry> }> | undefined

  constructor(options: KeyvNimbusOptions) {
    super()
    this.#options = options
  }

  async get(key: string): Promise<string | undefined> {
    const { table } = await this.#open()
    return this.#fresh(table, key)?.value
  }

  async getMany(keys: string[]): Promise<(string | undefined)[]> {
    const { table } = await this.#open()
    const nowMs = Date.now()
    return table.getMany(keys).map((entry) => (entry === undefined || isOver(entry, nowMs) ? undefined : entry.value))
  }

  async set(key: string, value: string, ttlMs?: number): Promise<void> {
    const { table } = await this.#open()
    await table.put(key, { value, expiresMs: expiryOf(ttlMs) })
  }

  async setMany(entries: { key: string; value: string; ttl?: number }[]): Promise<void> {
    const { store, table } = await this.#open()
    const batch = store.batch()
    for (const { key, value, ttl } of entries) batch.put(table, key, { value, expiresMs: expiryOf(ttl) })
    await batch.write()
  }

  /** Whether it was there. */
  async delete(key: string): Promise<boolean> {
    return this.deleteMany([key])
  }

  /** Whether any of them was there. */
  async deleteMany(keys: string[]): Promise<boolean> {
    const { store, table } = await this.#open()
    return store.transaction((transaction) => {
      const found = keys.filter((key) => transaction.get(table, key) !== undefined)
      for (const key of found) transaction.del(table, key)
      return found.length > 0
    })
  }

  async has(key: string): Promise<boolean> {
    const { table } = await this.#open()
    return this.#fresh(table, key) !== undefined
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return (await this.getMany(keys)).map((value) => value !== undefined)
  }

  /** The keys of the namespace, or all if there is none. */
  async clear(): Promise<void> {
    const { table } = await this.#open()
    await table.clear(rangeOf(this.namespace))
  }

  async *iterator(namespace?: string): AsyncGenerator<[key: string, value: string], void> {
    const { table } = await this.#open()
    for await (const [key, entry] of table.range(rangeOf(namespace ?? this.namespace))) {
      if (!isOver(entry, Date.now())) yield [key, entry.value]
    }
  }

  async disconnect(): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    if (!('store' in this.#options)) await (await opened)?.store.close()
  }

  #fresh(table: Table<string, Entry>, key: string): Entry | undefined {
    const entry = table.get(key)
    if (entry === undefined || !isOver(entry, Date.now())) return entry
    // Nobody waits for it: should it fail, the entry is as much over as before.
    void this.deleteMany([key]).catch(() => undefined)
    return undefined
  }

  #open(): Promise<{ readonly store: Store; readonly table: Table<string, Entry> }> {
    this.#opened ??= this.#openNow().catch((error: unknown) => {
      this.#opened = undefined
      throw error
    })
    return this.#opened
  }

  async #openNow() {
    const options = this.#options
    const store = 'store' in options ? options.store : await Store.open(options)
    return { store, table: store.table(options.table ?? KEYV_TABLE, { keys: utf8, values: ENTRY }) }
  }
}

const ENTRY: Encoding<Entry> = {
  encode({ value, expiresMs }) {
    const text = utf8.encode(value)
    const stored = Buffer.alloc(EXPIRES_BYTES + text.length)
    stored.writeDoubleBE(expiresMs, 0)
    stored.set(text, EXPIRES_BYTES)
    return stored
  },
  decode(stored) {
    const copy = Buffer.from(bytes.decode(stored))
    return { expiresMs: copy.readDoubleBE(0), value: utf8.decode(copy.subarray(EXPIRES_BYTES)) }
  },
}

function expiryOf(ttlMs: number | undefined): number {
  return ttlMs === undefined ? 0 : Date.now() + ttlMs
}

function isOver({ expiresMs }: Entry, nowMs: number): boolean {
  return expiresMs !== 0 && nowMs > expiresMs
}

/** Keyv puts the namespace and a colon before the keys of a namespace. */
function rangeOf(namespace: string | undefined): { readonly prefix?: string } {
  return namespace === undefined ? {} : { prefix: `${namespace}:` }
}
