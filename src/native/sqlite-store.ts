/** SQLite and SQLCipher files. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { guard } from './failure.js'
import type { Dek } from './keys.js'
import { Requests } from './requests.js'
import { type Findings, type VerifyOptions, found, longWork } from './work.js'

export type SqlParameter = null | number | string | boolean | Uint8Array
export type SqlValue = null | number | string | Uint8Array
export type Row = SqlValue[]

/** SQLCipher parameters: `sqlcipher-4` are its defaults, `sqlcipher-4-sha256` has the faster page MAC. */
export type CipherProfile = 'sqlcipher-4' | 'sqlcipher-4-sha256'

/** Bytes of page cache for all open stores together, and the most that one store may have. */
export const setPageCacheBudget = (totalBytes: number, storeBytes: number): void =>
  addon.setPageCacheBudget(totalBytes, storeBytes)

export interface StoreEncryption {
  dek: Dek
  /** 16 bytes: SQLCipher's salt and the first bytes of the file. */
  fileId: Uint8Array
  profile: CipherProfile
}

export interface StoreOptions {
  path: string
  /** `create`: the file must not exist; `open`: it must hold a database, an empty file is `file_corrupt`. */
  mode: 'open' | 'create'
  /** Keep the file for this process alone: its connections share memory instead of taking file locks. */
  exclusive: boolean
  encryption?: StoreEncryption | undefined
}

export interface Step {
  sql: string
  params?: SqlParameter[]
  /** The request fails and is undone if the statement returns (or, returning none, changes) fewer rows. */
  atLeast?: number
}

export interface StepResult {
  changes: number
  rows: Row[]
}

export interface StoreStats {
  commits: number
  requests: number
  queued: number
  queuedBytes: number
}

/**
 * One open SQLite or SQLCipher file: writes are committed in groups on a native thread, `get` runs on the caller's
 * thread, `query` on native ones. Rejects with `StatementError`, or with `file_corrupt`, `disk_full`, `io_error`,
 * `file_busy`, `shutting_down`.
 */
export class SqliteStore {
  readonly #store: Addon.NativeStore
  readonly #requests: Requests<Addon.NativeCompletion>
  /** Writes of the present turn of the event loop. */
  #gathered: Addon.NativeWrite[] = []

  private constructor(store: Addon.NativeStore, requests: Requests<Addon.NativeCompletion>) {
    this.#store = store
    this.#requests = requests
  }

  /** Throws `data_missing`, `target_exists`, `file_corrupt`, `file_busy`, `disk_full`, `data_dir_unwritable`, `io_error`. */
  static open({ path, mode, exclusive, encryption }: StoreOptions): SqliteStore {
    const requests = new Requests<Addon.NativeCompletion>()
    const options = { path, create: mode === 'create', exclusive, ...encryption }
    return new SqliteStore(
      guard(() => addon.NativeStore.open(options, requests.settle)),
      requests,
    )
  }

  /** The first row of a statement that reads, on this thread (microseconds: give it LIMIT 1). */
  get(sql: string, params: SqlParameter[]): Row | undefined {
    return guard(() => this.#store.get(sql, params)) ?? undefined
  }

  /**
   * The rows of a statement that reads, up to `mostBytes` of payload and at least one: all of them from one state of the file.
   * `isCut` if there are more.
   */
  async queryUpTo(mostBytes: number, sql: string, params: SqlParameter[]): Promise<{ rows: Row[]; isCut: boolean }> {
    const { rows, cut } = await this.#requests.make((id) => this.#store.query(id, sql, params, mostBytes))
    return { rows: rows ?? [], isCut: cut ?? false }
  }

  /** All rows of a statement that reads; bound them with LIMIT. */
  async query(sql: string, params: SqlParameter[]): Promise<Row[]> {
    const { rows } = await this.#requests.make((id) => this.#store.query(id, sql, params))
    return rows ?? []
  }

  /** Commits the steps together, durably; one result for each. */
  async write(steps: Step[]): Promise<StepResult[]> {
    const { results } = await this.#requests.make((id) => this.#gather({ id, steps }))
    return results ?? []
  }

  /** Copies the write-ahead log into the data file and empties it. */
  async checkpoint(): Promise<void> {
    this.#handOver()
    await this.#requests.make((id) => this.#store.checkpoint(id))
  }

  /** Finishes what is queued, checkpoints and closes; closing twice is harmless. */
  async close(): Promise<void> {
    this.#handOver()
    await this.#requests.make((id) => this.#store.close(id))
  }

  /**
   * Authenticates every page of an encrypted file as it lies on the disk, and its log, while the store is used. Rejects with
   * `file_corrupt` naming a log that is damaged, to which nothing is added from then on.
   */
  verify({ bytesPerSecond, ...options }: VerifyOptions): Promise<Findings> {
    return found(longWork(options, (onEvent) => this.#store.verify(bytesPerSecond, onEvent)))
  }

  get stats(): StoreStats {
    return this.#store.stats()
  }

  /**
   * What one turn of the event loop brings is handed over together, behind the last of it: that makes one larger transaction
   * and one wake-up of the writer, where each request by itself would wake it for a commit of two or three.
   */
  #gather(write: Addon.NativeWrite): void {
    if (this.#gathered.push(write) === 1) setImmediate(() => this.#handOver())
  }

  #handOver(): void {
    const writes = this.#gathered
    this.#gathered = []
    if (writes.length > 0) this.#submit(writes)
  }

  /** One whose parameters are no SQL values fails alone: nothing of a call that throws has been queued. */
  #submit(writes: Addon.NativeWrite[]): void {
    try {
      guard(() => this.#store.write(writes))
    } catch (thrown) {
      const [first] = writes
      if (writes.length > 1) for (const write of writes) this.#submit([write])
      else if (first !== undefined) this.#requests.fail(first.id, thrown)
    }
  }
}
