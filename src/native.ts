/** The only file that loads the addon: what it exports, typed, with every native failure turned into a `NimbusError`. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type * as Addon from '../index.js'
import { NimbusError, type ErrorDetail, type NimbusErrorCode } from './errors.js'

export type { LockedMemory, MasterKey, WrappingKey } from '../index.js'
export type Dek = Addon.Dek
export type FileLock = Addon.FileLock

export interface FileReplacement {
  path: string
  bytes: Uint8Array
}

export type SqlParameter = null | number | string | boolean | Uint8Array
export type SqlValue = null | number | string | Uint8Array
export type Row = SqlValue[]

/** SQLCipher parameters: `sqlcipher-4` are its defaults, `sqlcipher-4-sha256` has the faster page MAC. */
export type CipherProfile = 'sqlcipher-4' | 'sqlcipher-4-sha256'

const addon = loadAddon()

/** `key`: a handle; `mode`: the permission bits of the file. Throws `key_missing`, `key_malformed` with `detail.reason`. */
export function readMasterKeyFile(path: string): { key: Addon.MasterKey; mode: number } {
  const key = guard(() => addon.MasterKey.read(path))
  return { key, mode: key.mode }
}

/** The same for the key of one subject. */
export function readSubjectKeyFile(path: string): { key: Addon.SubjectKey; mode: number } {
  const key = guard(() => addon.SubjectKey.read(path))
  return { key, mode: key.mode }
}

export const Dek = {
  /** A new random DEK in locked native memory. */
  generate: (): Addon.Dek => guard(() => addon.Dek.generate()),
}

export const FileLock = {
  /** Throws `file_busy` at once, naming the owner's pid and host. */
  exclusive: (path: string): Addon.FileLock => guard(() => addon.FileLock.exclusive(path)),
  shared: (path: string): Addon.FileLock => guard(() => addon.FileLock.shared(path)),
}

export const randomBytes = (count: number): Uint8Array => guard(() => addon.randomBytes(count))
/** Puts `bytes` at `path` in one step, mode 0600, durable on return. The caller is the only writer of that path. */
export const replaceFile = (path: string, bytes: Uint8Array): void => guard(() => addon.replaceFile(path, bytes))
/**
 * As `replaceFile` for each of them, with one flush of the file system for all. In their order: `undefined` for a file that
 * is durable, else what failed; that file is then what it was, and the others are not held up.
 */
export const replaceFiles = (files: FileReplacement[]): (Error | undefined)[] =>
  guard(() => addon.replaceFiles(files)).map((failure) => (failure ? fromFailure(failure) : undefined))
/** False if something is there already; of any number of processes that try at once exactly one gets true. */
export const createFileExclusive = (path: string, bytes: Uint8Array): boolean =>
  guard(() => addon.createFileExclusive(path, bytes))
/** False if there was none. */
export const removeFileDurably = (path: string): boolean => guard(() => addon.removeFileDurably(path))
/** With missing parents, mode 0700. */
export const createDirectory = (path: string): void => guard(() => addon.createDirectory(path))
/** Forbids core dumps and reading this process's memory (`PR_SET_DUMPABLE`, prctl(2)). */
export const hardenProcess = (): { dumpable: boolean } => ({ dumpable: addon.hardenProcess() })
/** `locked` is false when the lock limit was too small for the keys made so far: they could be swapped out. */
export const lockedMemory = (): { locked: boolean; lockedBytes: number; limitBytes: number | null } => {
  const { locked, lockedBytes, limitBytes } = addon.lockedMemory()
  return { locked, lockedBytes, limitBytes: limitBytes ?? null }
}
/** Bytes of page cache for all open stores together, and the most that one store may have. */
export const setPageCacheBudget = (totalBytes: number, storeBytes: number): void =>
  addon.setPageCacheBudget(totalBytes, storeBytes)

/** Known-answer tests only: they take keys as bytes. */
export const knownAnswers = {
  aes256GcmSivSeal: addon.aes256GcmSivSeal,
  aes256GcmSivOpen: addon.aes256GcmSivOpen,
  hkdfSha256: addon.hkdfSha256,
}

export interface StoreEncryption {
  dek: Addon.Dek
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

export type StatementErrorKind = 'expectation_failed' | 'constraint_unique' | 'constraint' | 'sql'

/** A statement was refused; the request it belonged to was undone. `step` counts from 0. */
export class StatementError extends Error {
  override readonly name = 'StatementError'
  readonly kind: StatementErrorKind
  readonly step: number

  constructor(kind: StatementErrorKind, step: number, message: string) {
    super(message)
    this.kind = kind
    this.step = step
  }
}

interface Waiting {
  resolve(completion: Addon.NativeCompletion): void
  reject(error: Error): void
}

/**
 * One open SQLite or SQLCipher file: writes are committed in groups on a native thread, `get` runs on the caller's
 * thread, `query` on native ones. Rejects with `StatementError`, or with `file_corrupt`, `disk_full`, `io_error`,
 * `file_busy`, `shutting_down`.
 */
export class SqliteStore {
  readonly #store: Addon.NativeStore
  readonly #waiting: Map<number, Waiting>
  #lastId = 0

  private constructor(store: Addon.NativeStore, waiting: Map<number, Waiting>) {
    this.#store = store
    this.#waiting = waiting
  }

  /** Throws `data_missing`, `target_exists`, `file_corrupt`, `file_busy`, `disk_full`, `data_dir_unwritable`, `io_error`. */
  static open({ path, mode, exclusive, encryption }: StoreOptions): SqliteStore {
    const waiting = new Map<number, Waiting>()
    const settle = (completions: Addon.NativeCompletion[]): void => {
      for (const completion of completions) {
        const request = waiting.get(completion.id)
        waiting.delete(completion.id)
        keepAlive.release()
        if (completion.failure === undefined) request?.resolve(completion)
        else request?.reject(fromFailure(completion.failure))
      }
    }
    const options = { path, create: mode === 'create', exclusive, ...encryption }
    return new SqliteStore(
      guard(() => addon.NativeStore.open(options, settle)),
      waiting,
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
    const { rows, cut } = await this.#request((id) => this.#store.query(id, sql, params, mostBytes))
    return { rows: rows ?? [], isCut: cut ?? false }
  }

  /** All rows of a statement that reads; bound them with LIMIT. */
  async query(sql: string, params: SqlParameter[]): Promise<Row[]> {
    const { rows } = await this.#request((id) => this.#store.query(id, sql, params))
    return rows ?? []
  }

  /** Commits the steps together, durably; one result for each. */
  async write(steps: Step[]): Promise<StepResult[]> {
    const { results } = await this.#request((id) => this.#store.write(id, steps))
    return results ?? []
  }

  /** Copies the write-ahead log into the data file and empties it. */
  async checkpoint(): Promise<void> {
    await this.#request((id) => this.#store.checkpoint(id))
  }

  /** Finishes what is queued, checkpoints and closes; closing twice is harmless. */
  async close(): Promise<void> {
    await this.#request((id) => this.#store.close(id))
  }

  get stats(): StoreStats {
    return this.#store.stats()
  }

  #request(submit: (id: number) => void): Promise<Addon.NativeCompletion> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId()
      this.#waiting.set(id, { resolve, reject })
      keepAlive.hold()
      try {
        guard(() => submit(id))
      } catch (thrown) {
        this.#waiting.delete(id)
        keepAlive.release()
        reject(thrown instanceof Error ? thrown : new Error(String(thrown)))
      }
    })
  }

  /** Ids are 32-bit and come round again after 4 billion requests; one still waiting is passed over. */
  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#waiting.has(this.#lastId))
    return this.#lastId
  }
}

/** Keeps the event loop alive while native threads work for somebody, and only then. */
const keepAlive = {
  requests: 0,
  timer: undefined as NodeJS.Timeout | undefined,

  hold(): void {
    this.requests += 1
    this.timer ??= setInterval(() => undefined, 0x7fffffff)
    if (this.requests === 1) this.timer.ref()
  },

  release(): void {
    this.requests -= 1
    if (this.requests === 0) this.timer?.unref()
  },
}

const NIMBUS_CODES: Readonly<Record<string, NimbusErrorCode>> = {
  data_missing: 'data_missing',
  disk_full: 'disk_full',
  file_busy: 'file_busy',
  file_corrupt: 'file_corrupt',
  io_error: 'io_error',
  key_malformed: 'key_malformed',
  key_missing: 'key_missing',
  not_permitted: 'data_dir_unwritable',
  shutting_down: 'shutting_down',
  target_exists: 'target_exists',
}

function guard<T>(call: () => T): T {
  try {
    return call()
  } catch (thrown) {
    if (!isFailure(thrown)) throw thrown
    throw fromFailure(thrown)
  }
}

function isFailure(thrown: unknown): thrown is Addon.NativeFailure {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
}

function fromFailure(failure: Addon.NativeFailure): Error {
  const { code, message, path, step, reason, bytes, ownerPid, ownerHost } = failure
  if (code === 'statement') return new StatementError(reason as StatementErrorKind, step ?? 0, message)
  if (code === 'invalid_argument' || code === 'closed_handle' || isArgumentStatus(code)) return new TypeError(message)
  const detail: ErrorDetail = {}
  if (reason !== undefined) detail['reason'] = reason
  if (bytes !== undefined) detail['bytes'] = bytes
  if (ownerPid !== undefined) detail['owner_pid'] = ownerPid
  if (ownerHost !== undefined) detail['owner_host'] = ownerHost
  return new NimbusError(NIMBUS_CODES[code] ?? 'internal', message, { path, detail })
}

/** What Node-API and napi-rs say of an argument of the wrong type: `InvalidArg`, `StringExpected` and so on. */
const isArgumentStatus = (code: string): boolean => code === 'InvalidArg' || code.endsWith('Expected')

/** `NIMBUS_NATIVE_PATH`, the file beside the package, or the package for this platform: in this order. */
function loadAddon(): typeof Addon {
  const require = createRequire(import.meta.url)
  const platform = `${process.platform}-${process.arch}${process.platform === 'linux' ? `-${libc()}` : ''}`
  const beside = fileURLToPath(new URL(`../nimbus.${platform}.node`, import.meta.url))
  const override = process.env['NIMBUS_NATIVE_PATH']
  const from = override ?? (existsSync(beside) ? beside : `@nimbus/storage-${platform}`)
  try {
    return require(from) as typeof Addon
  } catch (cause) {
    throw new NimbusError(
      'native_unavailable',
      `cannot load the native addon for ${platform}, Node ${process.version}`,
      {
        path: from,
        remediation: 'Install the package for this platform, or build it: npm run build:native',
        cause,
      },
    )
  }
}

/** Node's report names the glibc it runs on; on musl there is none. Making the report's header alone is fast. */
function libc(): 'gnu' | 'musl' {
  const report = process.report as { excludeNetwork?: boolean; getReport(): unknown } | undefined
  if (existsSync('/lib64/ld-linux-x86-64.so.2') || existsSync('/lib/ld-linux-aarch64.so.1')) return 'gnu'
  const header = (report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)?.header
  return header?.glibcVersionRuntime === undefined ? 'musl' : 'gnu'
}
