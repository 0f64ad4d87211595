/** Copies of a database that is in use, and its bytes. */
import { access } from 'node:fs/promises'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { holdFile } from '../encryption/hold.js'
import {
  activate,
  announceCopy,
  type Protected,
  publishedFilesOf,
  removeParts,
  targetExists,
} from '../encryption/protect.js'
import { existsAtOnce } from '../manifest/file.js'
import { counters, leftStatement, library, optionOf } from '../native.js'
import { assertFree, assertIdle, assertOpen, type Connection, whileBusy } from './connection.js'
import { attachedOption, optionsOf } from './options.js'
import { SqliteError } from './sqlite-error.js'

/** How far a backup is. */
export interface BackupProgress {
  totalPages: number
  remainingPages: number
}

export interface BackupOptions {
  /** The name of an attached database to copy; `main` by default. */
  attached?: string
  /** Called after each step; returns how many pages to copy next, 100 by default. */
  progress?: (progress: BackupProgress) => number | undefined
}

const PAGES_AT_ONCE = 100
const MOST_PAGES = 0x7fffffff
const ALL_PAGES = -1
/** What a step answers when the copy is whole. */
const DONE = 101
const OK = 0
/** How long nothing may be copied because somebody holds a lock, and how often it is tried. */
const LOCKED_MS = 5000
const TRY_AGAIN_MS = 20

/** `original` is the file if it has a manifest: its copy then gets one too. */
export async function backUp(
  connection: Connection,
  target: unknown,
  given: unknown,
  original: Protected | undefined,
): Promise<BackupProgress> {
  const options = optionsOf(given, 'second')
  if (typeof target !== 'string') throw new TypeError('Expected first argument to be a string')
  const path = target.trim()
  const attached = attachedOption(options)
  const progress = 'progress' in options ? optionOf(options, 'progress') : null
  if (path === '') throw new TypeError('Backup filename cannot be an empty string')
  if (path === ':memory:') throw new TypeError('Invalid backup filename ":memory:"')
  if (progress !== null && progress !== undefined && typeof progress !== 'function') {
    throw new TypeError('Expected the "progress" option to be a function')
  }
  await access(dirname(path)).catch(() => {
    throw new TypeError('Cannot save backup because the directory does not exist')
  })
  assertOpen(connection)
  assertIdle(connection)
  const work = async (): Promise<BackupProgress> => {
    const backup = openBackup(connection, attached, path, original !== undefined)
    try {
      return await copy(connection, backup, typeof progress === 'function' ? progress : undefined)
    } finally {
      library.backupClose(backup)
    }
  }
  return original === undefined ? work() : withManifest(original, path, work)
}

/** What fails is removed again if it is this backup that made it, and nobody else: `isOurs`, or a file that was not there. */
function openBackup(connection: Connection, schema: string, path: string, isOurs: boolean): number {
  const made = !isOurs && madeAnew(path)
  try {
    return library.backupOpen(connection.handle, schema, path, isOurs || made)
  } catch (error) {
    if (made) rmSync(path, { force: true })
    throw error
  }
}

/** Whether the file was not there, and is now, empty. Where it cannot be made SQLite says why. */
function madeAnew(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o644))
    return true
  } catch {
    return false
  }
}

/**
 * The copy's manifest is there before its first byte, `creating`, and says `active` after its last: one that was interrupted is
 * taken away by whoever opens it.
 */
async function withManifest<T>(original: Protected, path: string, work: () => Promise<T>): Promise<T> {
  const held = holdFile(path)
  try {
    for (const part of publishedFilesOf(path, original.manifest.subject.family)) {
      if (existsAtOnce(part)) throw targetExists(part)
    }
    const made = announceCopy(original, path)
    try {
      const result = await work()
      activate(made)
      return result
    } catch (error) {
      removeParts(made)
      throw error
    }
  } finally {
    held.release()
  }
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- whatever the caller gave; its answer is checked
async function copy(connection: Connection, backup: number, progress: Function | undefined): Promise<BackupProgress> {
  // None at first: it says how many there are.
  let pages = 0
  let isFirst = true
  let triedUntil = performance.now() + LOCKED_MS
  for (;;) {
    await new Promise(setImmediate)
    assertOpen(connection)
    const code = library.backupStep(backup, pages)
    const done = { totalPages: counters[0] ?? 0, remainingPages: counters[1] ?? 0 }
    if (code === DONE) return done
    if (code !== OK) {
      if (performance.now() > triedUntil) throw locked('the backup')
      await pause(TRY_AGAIN_MS)
      continue
    }
    triedUntil = performance.now() + LOCKED_MS
    if (isFirst) pages = PAGES_AT_ONCE
    isFirst = false
    if (progress === undefined) continue
    const answer: unknown = Reflect.apply(progress, undefined, [done])
    if (answer === undefined) continue
    if (typeof answer !== 'number' || Number.isNaN(answer)) {
      throw new TypeError('Expected progress callback to return a number or undefined')
    }
    pages = Math.max(0, Math.min(MOST_PAGES, Math.round(answer)))
  }
}

/** The bytes of a database; of an encrypted one those of a file that the same key opens. */
export function serialize(connection: Connection, schema: string, isEncrypted: boolean): Buffer {
  assertFree(connection)
  const pages = firstColumn(connection, `PRAGMA ${quoted(schema)}.page_count`)
  if (pages === 0) return Buffer.alloc(0)
  if (!isEncrypted) return library.serialize(connection.handle, schema)
  return whileBusy(connection, () => bytesOfFile(connection, schema) ?? bytesOfCopy(connection, schema))
}

/** The file itself, if all of the database is in it: without a write-ahead log, outside a transaction, and with a file. */
function bytesOfFile(connection: Connection, schema: string): Buffer | undefined {
  if (library.inTransaction(connection.handle)) return undefined
  const name = quoted(schema)
  const mode = firstColumn(connection, `PRAGMA ${name}.journal_mode`)
  if (mode === 'wal' || mode === 'memory' || mode === 'off') return undefined
  library.exec(connection.handle, 'BEGIN')
  try {
    // Reading holds a lock: nobody writes meanwhile.
    library.exec(connection.handle, `SELECT count(*) FROM ${name}.sqlite_schema`)
    return library.fileBytes(connection.handle, schema)
  } finally {
    library.exec(connection.handle, 'ROLLBACK')
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

function firstColumn(connection: Connection, sql: string): unknown {
  if (typeof library.prepare(connection.handle, sql, false) === 'number') return undefined
  const { handle: statement } = leftStatement()
  try {
    const owner = { changed: () => [() => undefined, () => undefined] satisfies [() => undefined, () => undefined] }
    const values: unknown[] = []
    library.all.call(owner, statement, (into, value) => into.push(value), values)
    return values[0]
  } finally {
    library.finalize(statement)
  }
}

/** A copy in a directory that only this user can enter; it is encrypted. */
function bytesOfCopy(connection: Connection, schema: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'nimbus-'))
  try {
    const path = join(directory, 'copy')
    const backup = library.backupOpen(connection.handle, schema, path, false)
    try {
      // Of the connection's own transaction nobody else can read what it wrote.
      if (library.backupStep(backup, ALL_PAGES) !== DONE) throw locked('serializing an encrypted database')
    } finally {
      library.backupClose(backup)
    }
    return readFileSync(path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function locked(what: string): Error {
  return new SqliteError(
    `${what} has to wait for a transaction that writes, of this connection or another one`,
    'SQLITE_BUSY',
  )
}
