/** Reads of single keys as of the last commit: `crates/node/src/kv/tables.rs` from the other side. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { guard } from './failure.js'
import { lengthOf } from './packed.js'
import type { SharedBytes } from './shared-bytes.js'

interface TableFunctions {
  setUp(crossing: Uint8Array, keyBytes: number): void
  table(store: Addon.NativeKvStore, name: string): number
  close(table: number): void
  count(): number
  /** The length of the value, or -1. */
  get(table: number, keyBytes: number): number
}

const native = addon.kvTables() as unknown as TableFunctions

const KEY_BYTES = 4 * 1024
const VALUE_BYTES = 60 * 1024
/** Where keys and values cross. Handed out to nobody: native code writes where it was when it was told of it. */
const crossing = Buffer.alloc(KEY_BYTES + VALUE_BYTES)
native.setUp(crossing, KEY_BYTES)
/** The value of each length, made when the first of it is read: a view costs as much as the copy of a short value. */
const values: (Uint8Array | undefined)[] = []
const LONGEST_KNOWN_VALUE = 1024

/** Gives up the handles of tables that nobody has any more: those of stores that were never closed. */
const abandoned = new FinalizationRegistry<number>((handle) => {
  native.close(handle)
})

/** Handles that are open on this thread. */
export const openTables = (): number => native.count()

/** One table of an open store. */
export class KvTable {
  readonly #handle: number
  readonly #sharedBytes: SharedBytes
  readonly #getLong: (key: Uint8Array) => Uint8Array | undefined

  /** Made by `KvStore`. `getLong` reads what does not fit here. */
  constructor(
    store: Addon.NativeKvStore,
    name: string,
    sharedBytes: SharedBytes,
    getLong: (key: Uint8Array) => Uint8Array | undefined,
  ) {
    this.#handle = native.table(store, name)
    abandoned.register(this, this.#handle, this)
    this.#sharedBytes = sharedBytes
    this.#getLong = getLong
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const keyBytes = lengthOf(key)
    if (keyBytes > KEY_BYTES) return this.#getLong(key)
    crossing.set(key)
    const length = this.#find(keyBytes)
    if (length < 0) return undefined
    return length > VALUE_BYTES ? this.#getLong(key) : this.#sharedBytes.copy(valueOf(length))
  }

  /** Once, and nothing is read afterwards. */
  close(): void {
    abandoned.unregister(this)
    native.close(this.#handle)
  }

  /** Without a closure: this is the call that is made a hundred thousand times a second. */
  #find(keyBytes: number): number {
    try {
      return native.get(this.#handle, keyBytes)
    } catch (thrown) {
      return guard(() => {
        throw thrown
      })
    }
  }
}

function valueOf(length: number): Uint8Array {
  if (length > LONGEST_KNOWN_VALUE) return crossing.subarray(KEY_BYTES, KEY_BYTES + length)
  return (values[length] ??= new Uint8Array(crossing.buffer, crossing.byteOffset + KEY_BYTES, length))
}
