/** What SQLite refuses, by its extended result code. */
import { callable } from '../native.js'

/** "Result and Error Codes": the primary ones, by number. */
const PRIMARY = [
  'OK', 'ERROR', 'INTERNAL', 'PERM', 'ABORT', 'BUSY', 'LOCKED', 'NOMEM', 'READONLY', 'INTERRUPT', 'IOERR', 'CORRUPT', 'NOTFOUND',
  'FULL', 'CANTOPEN', 'PROTOCOL', 'EMPTY', 'SCHEMA', 'TOOBIG', 'CONSTRAINT', 'MISMATCH', 'MISUSE', 'NOLFS', 'AUTH', 'FORMAT',
  'RANGE', 'NOTADB', 'NOTICE', 'WARNING',
] // prettier-ignore

/** The extended ones of a primary code, from 1. */
const EXTENDED: Readonly<Record<string, readonly string[]>> = {
  ERROR: ['MISSING_COLLSEQ', 'RETRY', 'SNAPSHOT', 'RESERVESIZE', 'KEY', 'UNABLE'],
  IOERR: [
    'READ', 'SHORT_READ', 'WRITE', 'FSYNC', 'DIR_FSYNC', 'TRUNCATE', 'FSTAT', 'UNLOCK', 'RDLOCK', 'DELETE', 'BLOCKED', 'NOMEM',
    'ACCESS', 'CHECKRESERVEDLOCK', 'LOCK', 'CLOSE', 'DIR_CLOSE', 'SHMOPEN', 'SHMSIZE', 'SHMLOCK', 'SHMMAP', 'SEEK', 'DELETE_NOENT',
    'MMAP', 'GETTEMPPATH', 'CONVPATH', 'VNODE', 'AUTH', 'BEGIN_ATOMIC', 'COMMIT_ATOMIC', 'ROLLBACK_ATOMIC', 'DATA', 'CORRUPTFS',
    'IN_PAGE',
  ], // prettier-ignore
  LOCKED: ['SHAREDCACHE', 'VTAB'],
  BUSY: ['RECOVERY', 'SNAPSHOT', 'TIMEOUT'],
  CANTOPEN: ['NOTEMPDIR', 'ISDIR', 'FULLPATH', 'CONVPATH', 'DIRTYWAL', 'SYMLINK'],
  CORRUPT: ['VTAB', 'SEQUENCE', 'INDEX'],
  READONLY: ['RECOVERY', 'CANTLOCK', 'ROLLBACK', 'DBMOVED', 'CANTINIT', 'DIRECTORY'],
  ABORT: ['', 'ROLLBACK'],
  CONSTRAINT: [
    'CHECK', 'COMMITHOOK', 'FOREIGNKEY', 'FUNCTION', 'NOTNULL', 'PRIMARYKEY', 'TRIGGER', 'UNIQUE', 'VTAB', 'ROWID', 'PINNED',
    'DATATYPE',
  ], // prettier-ignore
  NOTICE: ['RECOVER_WAL', 'RECOVER_ROLLBACK', 'RBU'],
  WARNING: ['AUTOINDEX'],
  AUTH: ['USER'],
}

/** A refusal of SQLite. */
class SqliteErrorClass extends Error {
  /** An extended result code, such as `SQLITE_CONSTRAINT_UNIQUE`. */
  readonly code: string

  constructor(message: string, code: string) {
    if (typeof code !== 'string') throw new TypeError('Expected second argument to be a string')
    super(message)
    // Plain JavaScript passes anything.
    const given: unknown = message
    Object.defineProperty(this, 'message', {
      value: String(given),
      writable: true,
      enumerable: false,
      configurable: true,
    })
    Error.captureStackTrace(this, SqliteErrorClass)
    this.code = code
  }
}
Object.defineProperty(SqliteErrorClass.prototype, 'name', {
  value: 'SqliteError',
  writable: true,
  enumerable: false,
  configurable: true,
})
Object.defineProperty(SqliteErrorClass, 'name', { value: 'SqliteError', configurable: true })

/**
 * A refusal of SQLite: `message` has its words, `code` its extended result code, such as `SQLITE_CONSTRAINT_UNIQUE` or
 * `SQLITE_BUSY`. A page of an encrypted file that does not authenticate is `SQLITE_CORRUPT`, a wrong key `SQLITE_NOTADB`.
 */
export const SqliteError = callable(SqliteErrorClass)
export type SqliteError = SqliteErrorClass

/** The name of an extended result code. */
export function nameOfCode(code: number): string {
  const primary = PRIMARY[code & 0xff]
  if (primary === undefined) return `UNKNOWN_SQLITE_ERROR_${code}`
  const extended = code >> 8
  if (extended === 0) return `SQLITE_${primary}`
  const name = EXTENDED[primary]?.[extended - 1]
  return name === undefined || name === '' ? `UNKNOWN_SQLITE_ERROR_${code}` : `SQLITE_${primary}_${name}`
}
