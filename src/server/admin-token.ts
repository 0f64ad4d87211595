/** The admin token: made at the first start, kept in a file of its owner, followed while the server runs. */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { NimbusError, fromSystemError, systemErrorCode } from '../errors.js'
import { createDirectory, createFileExclusive, replaceFile } from '../native.js'

/** The characters of an RFC 6750 token, and enough of them that nobody guesses it. */
const TOKEN = /^[A-Za-z0-9._~+/-]{32,512}=*$/
const RECHECK_MS = 1000

/** Knows the token that is good now; the file is read again when it was replaced. */
export class AdminToken {
  readonly file: string
  #token: Buffer
  #identity: string
  #checkedAt = 0

  private constructor(file: string, token: string, identity: string) {
    this.file = file
    this.#token = Buffer.from(token)
    this.#identity = identity
  }

  /**
   * @throws NimbusError `config_invalid` when the file is malformed, `data_dir_unwritable` when it can be neither read
   * nor made.
   */
  static loadOrCreate(file: string): AdminToken {
    const identity = identityOf(file)
    if (identity !== undefined) return new AdminToken(file, readToken(file), identity)
    createDirectory(path.dirname(file))
    const token = newToken()
    // Another server may have been faster; then its token is the one.
    const created = createFileExclusive(file, encode(token))
    return new AdminToken(file, created ? token : readToken(file), identityOf(file) ?? '')
  }

  /** What the operator should know about the file: others can read it. */
  warnings(): string[] {
    const mode = statSync(this.file).mode & 0o777
    if ((mode & 0o077) === 0) return []
    return [`the admin token file ${this.file} is open to others (mode ${mode.toString(8)}): chmod 600 ${this.file}`]
  }

  /**
   * Compares in constant time. A replaced file counts at once for the new token, and within a second for the old one; a
   * file that is gone or malformed for the moment changes nothing.
   */
  accepts(presented: string): boolean {
    if (!this.#equals(presented)) return this.#refresh() && this.#equals(presented)
    if (performance.now() - this.#checkedAt < RECHECK_MS) return true
    return !this.#refresh() || this.#equals(presented)
  }

  /** The length is no secret: every token that nimbus makes has the same. */
  #equals(presented: string): boolean {
    const bytes = Buffer.from(presented)
    return bytes.length === this.#token.length && timingSafeEqual(bytes, this.#token)
  }

  /** Whether the file holds another token than before. */
  #refresh(): boolean {
    this.#checkedAt = performance.now()
    try {
      const identity = identityOf(this.file)
      if (identity === undefined || identity === this.#identity) return false
      this.#token = Buffer.from(readToken(this.file))
      this.#identity = identity
      return true
    } catch (error) {
      if (error instanceof NimbusError) return false
      throw error
    }
  }
}

/** `nimbus token rotate`: one atomic replacement, so that a server reads either the old token or the new one. */
export function rotateAdminToken(file: string): void {
  createDirectory(path.dirname(file))
  replaceFile(file, encode(newToken()))
}

/** The token that a server on this machine asks of its administrator. @throws `io_error` if there is none, `config_invalid` */
export function readAdminToken(file: string): string {
  if (identityOf(file) !== undefined) return readToken(file)
  throw new NimbusError('io_error', `there is no admin token file ${file}`, {
    remediation: 'Start the server once: it makes the file. If it lies elsewhere, name it with --auth-token-file.',
    path: file,
  })
}

function newToken(): string {
  return `nimbus_${randomBytes(32).toString('base64url')}`
}

function encode(token: string): Buffer {
  return Buffer.from(`${JSON.stringify({ token })}\n`)
}

/** Changes whenever the file is replaced or written; undefined while there is none. */
function identityOf(file: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs } = statSync(file, { bigint: true })
    return `${dev}:${ino}:${size}:${mtimeNs}`
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw fromSystemError(error, 'read the admin token file', file)
  }
}

function readToken(file: string): string {
  const token = parseToken(readText(file))
  if (token !== undefined) return token
  throw new NimbusError('config_invalid', `the admin token file ${file} is malformed: it must hold {"token":"..."}`, {
    remediation: 'Run `nimbus token rotate`, or remove the file so that the next start makes a new one.',
    path: file,
  })
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw fromSystemError(error, 'read the admin token file', file)
  }
}

function parseToken(text: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || !('token' in value)) return undefined
  return typeof value.token === 'string' && TOKEN.test(value.token) ? value.token : undefined
}
