/** How a database is opened: its options, checked as better-sqlite3 checks them. */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { optionOf } from '../native.js'
import { type DatabaseKey, keyOf, profileOf } from './key.js'
import type { KeyProviderOption } from '../keys/option.js'
import { booleanOption } from './options.js'
import type { ProvidedRequest } from './provided.js'
import { SqliteError } from './sqlite-error.js'

/** How a database is opened. */
export interface DatabaseOptions {
  /** Refuse every write; the file must exist. */
  readonly?: boolean
  /** Fail if there is no file, instead of making one. */
  fileMustExist?: boolean
  /** Milliseconds to wait for other connections before `SQLITE_BUSY`; 5,000 by default. */
  timeout?: number
  /** Called with the text of each statement that runs, its parameters filled in. */
  verbose?: ((sql: string) => void) | null
  /** 32 raw bytes: SQLCipher's raw key of this file. They are copied into locked native memory. */
  key?: Uint8Array
  /** Overwrite `key` with zeros once it is copied. */
  wipeKey?: boolean
  /**
   * What wraps a key that is made for this file alone; the wrapped key lies in the manifest `<file>.nimbus-enc`. The constructor takes
   * those that answer at once (`master-key-file`, `key-dir`), `Database.open` takes all.
   */
  keyProvider?: KeyProviderOption
  /** With a provider: whose file it is, `[a-z0-9][a-z0-9_-]{0,47}`. Without it, the file's name before its extension. */
  name?: string
  /** The page format: `sqlcipher-4` by default; with a provider `sqlcipher-4-sha256`, for a file that is made. */
  profile?: 'sqlcipher-4' | 'sqlcipher-4-sha256'
  /**
   * Keep the file for this process alone: no file locks for each read. Another process gets `SQLITE_BUSY`, and with a provider
   * `file_busy`; so does this one for a connection to the file that is not exclusive. The default with a provider, unless
   * `readonly` is set, with which it needs one.
   */
  exclusive?: boolean
}

/** What the options come to. */
export interface Opening extends ProvidedRequest {
  /** As it was given. */
  readonly source: string
  readonly isAnonymous: boolean
  readonly serialized: Buffer | undefined
  readonly verbose: ((sql: string) => void) | undefined
  readonly key: DatabaseKey | undefined
  readonly wipeKey: boolean
  readonly keyProvider: unknown
}

const LONGEST_TIMEOUT_MS = 0x7fffffff

/** @throws TypeError, RangeError */
export function openingOf(
  source: string | Buffer | null | undefined,
  given: DatabaseOptions | null | undefined,
): Opening {
  const serialized = Buffer.isBuffer(source) ? source : undefined
  const name: unknown = serialized === undefined ? (source ?? '') : ':memory:'
  const options = given ?? {}
  if (typeof name !== 'string') throw new TypeError('Expected first argument to be a string')
  if (typeof options !== 'object') throw new TypeError('Expected second argument to be an options object')
  if ('readOnly' in options) throw new TypeError('Misspelled option "readOnly" should be "readonly"')
  if ('memory' in options) {
    throw new TypeError('Option "memory" was removed in v7.0.0 (use ":memory:" filename instead)')
  }
  const path = name.trim()
  const isAnonymous = path === '' || path === ':memory:'
  const readonly = booleanOption(options, 'readonly')
  const mustExist = booleanOption(options, 'fileMustExist')
  const timeout = 'timeout' in options ? optionOf(options, 'timeout') : 5000
  const verbose = 'verbose' in options ? options.verbose : null
  if (readonly && isAnonymous && serialized === undefined) {
    throw new TypeError('In-memory/temporary databases cannot be readonly')
  }
  if (typeof timeout !== 'number' || !Number.isInteger(timeout) || timeout < 0) {
    throw new TypeError('Expected the "timeout" option to be a positive integer')
  }
  if (timeout > LONGEST_TIMEOUT_MS) throw new RangeError('Option "timeout" cannot be greater than 2147483647')
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- plain JavaScript calls this too
  if (verbose !== null && verbose !== undefined && typeof verbose !== 'function') {
    throw new TypeError('Expected the "verbose" option to be a function')
  }
  const key = keyOf(options)
  const keyProvider = optionOf(options, 'keyProvider')
  // Of other files SQLite finds it out by itself: see `whyNotOpened`.
  if (keyProvider !== undefined && !hasDirectory(path, isAnonymous)) throw noDirectory()
  const owner = 'name' in options ? optionOf(options, 'name') : undefined
  if (keyProvider !== undefined && (isAnonymous || serialized !== undefined)) {
    throw new TypeError('A database with a key provider is a file: give its path')
  }
  if (owner !== undefined && typeof owner !== 'string') throw new TypeError('Expected the "name" option to be a string')
  if (owner !== undefined && keyProvider === undefined) {
    throw new TypeError('The "name" option needs the "keyProvider" option')
  }
  const exclusive =
    'exclusive' in options ? booleanOption(options, 'exclusive') : keyProvider !== undefined && !readonly
  if (exclusive && readonly && keyProvider === undefined) {
    throw new TypeError('The options "exclusive" and "readonly" go together only with the "keyProvider" option')
  }
  return {
    source: name,
    path,
    name: owner,
    isAnonymous,
    serialized,
    flags: { readonly, mustExist, exclusive, timeout },
    verbose: verbose ?? undefined,
    key,
    wipeKey: key !== undefined && booleanOption(options, 'wipeKey'),
    keyProvider,
    profile: 'profile' in options ? profileOf(options) : undefined,
  }
}

/** What to throw for a failure to open: SQLite names a missing directory like everything else that it cannot open. */
export function whyNotOpened(error: unknown, { path, isAnonymous }: Opening): unknown {
  if (!(error instanceof SqliteError && error.code.startsWith('SQLITE_CANTOPEN'))) return error
  return hasDirectory(path, isAnonymous) ? error : noDirectory()
}

const hasDirectory = (path: string, isAnonymous: boolean): boolean =>
  isAnonymous || path.startsWith('file:') || existsSync(dirname(path))

const noDirectory = (): TypeError => new TypeError('Cannot open database because the directory does not exist')
