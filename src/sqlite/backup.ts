/** Copies of a database that is in use, and its bytes. */
import { access } from 'node:fs/promises'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
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
import { counters, library, optionOf } from '../native.js'
import { assertFree, assertIdle, assertOpen, type Connection, whileBusy } from './connection.js'
import { attachedOption, optionsOf } from './options.js'

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
  const isNew = await access(path).then(
    () => false,
    () => true,
  )
  assertOpen(connection)
  assertIdle(connection)
  const work = async (): Promise<BackupProgress> => {
    const backup = library.backupOpen(connection.handle, attached, path, isNew)
    try {
      return await copy(connection, backup, typeof progress === 'function' ? progress : undefined)
    } finally {
      library.backupClose(backup)
    }
  }
  return original === undefined ? work() : withManifest(original, path, work)
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
  for (;;) {
    await new Promise(setImmediate)
    assertOpen(connection)
    library.backupStep(backup, pages)
    const done = { totalPages: counters[0] ?? 0, remainingPages: counters[1] ?? 0 }
    if (done.remainingPages === 0) return done
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
  // Reading holds a lock: nobody writes meanwhile.
  library.exec(connection.handle, `BEGIN; SELECT count(*) FROM ${name}.sqlite_schema`)
  try {
    return library.fileBytes(connection.handle, schema)
  } finally {
    library.exec(connection.handle, 'COMMIT')
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

function firstColumn(connection: Connection, sql: string): unknown {
  const prepared = library.prepare(connection.handle, sql, false)
  if (typeof prepared === 'number') return undefined
  const [statement] = prepared
  try {
    const owner = { changed: () => [() => undefined, () => undefined] satisfies [() => undefined, () => undefined] }
    return library.get.call(owner, statement, (value) => value)
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
      library.backupStep(backup, ALL_PAGES)
    } finally {
      library.backupClose(backup)
    }
    return readFileSync(path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
