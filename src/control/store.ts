/** The tables of the control plane, as bytes: what is read at the start, and how every change is committed. */
import { NimbusError } from '../errors.js'
import type { Findings, KvOperation, KvStore, VerifyOptions } from '../native.js'

export const LAYOUT_VERSION = 1

/** docs/format.md, "The control plane". */
export type Table = 'nimbus' | 'tenants' | 'tokens' | 'files' | 'events'

/** What the control plane needs of a key-value file. */
export type ControlFile = Pick<KvStore, 'get' | 'snapshot' | 'write' | 'verify' | 'stats' | 'close'>

/** A value of a table, or null to remove it. */
export interface Change {
  readonly table: Table
  readonly key: string | Uint8Array
  readonly value: object | null
}

/** Changes of the file, and what memory is to know once they are durable. */
export interface Plan {
  readonly changes: readonly Change[]
  apply(): void
}

const LAYOUT_KEY = Buffer.from('layout')
const ROWS_AT_A_TIME = 1000
const BYTES_AT_A_TIME = 1_048_576

/** Reads and changes the tables of one control-plane file. */
export class ControlStore {
  readonly path: string
  readonly #file: ControlFile
  /** Settles when the last change that was asked for is done, whatever became of it. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(file: ControlFile, path: string) {
    this.#file = file
    this.path = path
  }

  /**
   * Everything or nothing of it, durable when it resolves. `make` is called when every change before it is in memory too: a plan
   * made of older rows would put them back, such as a token that was revoked meanwhile.
   *
   * @throws what `make` throws, and what the file throws: after an `io_error` it may have taken effect.
   */
  async commit(make: () => readonly Plan[]): Promise<void> {
    const change = this.#last.then(() => this.#write(make()))
    this.#last = change.catch(() => undefined)
    await change
  }

  /** All rows of a table in order of key; `parse` gives undefined for what no version of this layout wrote. */
  load<T>(table: Table, parse: (value: unknown) => T | undefined): [key: Buffer, row: T][] {
    const rows: [Buffer, T][] = []
    const snapshot = this.#file.snapshot()
    try {
      let from: { key: Uint8Array; inclusive: boolean } | undefined
      for (let hasMore = true; hasMore;) {
        const range = { limit: ROWS_AT_A_TIME, mostBytes: BYTES_AT_A_TIME, ...(from === undefined ? {} : { from }) }
        const page = snapshot.range(table, range)
        for (const [key, value] of page.pairs) {
          const row = parse(parseJson(value))
          if (row === undefined) throw this.#damaged(table, key)
          rows.push([Buffer.from(key), row])
          from = { key, inclusive: false }
        }
        hasMore = page.hasMore
      }
    } finally {
      snapshot.close()
    }
    return rows
  }

  /**
   * Makes sure that the file is one of this layout. A file without any table is one whose creation stopped between its first
   * commit and the next: it is completed, with the rows of `first`.
   *
   * @throws `file_corrupt`, `unsupported_for_provider` for a layout of a later version
   */
  async requireLayout(first: readonly Change[]): Promise<void> {
    const stored = this.#file.get('nimbus', LAYOUT_KEY)
    if (stored === undefined && this.#isEmpty()) {
      const layout: Change = { table: 'nimbus', key: LAYOUT_KEY, value: { version: LAYOUT_VERSION } }
      await this.commit(() => [layout, ...first].map((change) => planOf(change)))
      return
    }
    const layout = stored === undefined ? undefined : parseJson(stored)
    const version = isObject(layout) ? layout['version'] : undefined
    if (version === LAYOUT_VERSION) return
    if (typeof version !== 'number' || !Number.isSafeInteger(version) || version <= LAYOUT_VERSION) {
      throw this.#damaged('nimbus', LAYOUT_KEY)
    }
    throw new NimbusError(
      'unsupported_for_provider',
      `the control plane ${this.path} has layout ${version}, which a newer nimbus wrote; this one reads ${LAYOUT_VERSION}`,
      { path: this.path, remediation: 'Start the version of nimbus that wrote it, or a newer one.' },
    )
  }

  verify(options: VerifyOptions): Promise<Findings> {
    return this.#file.verify(options)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  get stats(): KvStore['stats'] {
    return this.#file.stats
  }

  async #write(plans: readonly Plan[]): Promise<void> {
    const operations = plans.flatMap(({ changes }) => changes).map(operationOf)
    if (operations.length > 0) await this.#file.write(operations)
    for (const plan of plans) plan.apply()
  }

  #isEmpty(): boolean {
    const snapshot = this.#file.snapshot()
    try {
      return snapshot.tables().length === 0
    } finally {
      snapshot.close()
    }
  }

  #damaged(table: Table, key: Uint8Array): NimbusError {
    const row = Buffer.from(key).toString('hex')
    return new NimbusError(
      'file_corrupt',
      `${this.path} holds what nimbus does not write: table ${table}, key ${row}`,
      {
        path: this.path,
      },
    )
  }
}

/** One change that memory knows nothing of, unless `apply` says so. */
export function planOf(change: Change, apply: () => void = () => undefined): Plan {
  return { changes: [change], apply }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A row of which each member passes its check, and that has no others. */
export function rowOf<T extends object>(
  value: unknown,
  members: { readonly [Name in keyof T]: (value: unknown) => value is T[Name] },
): T | undefined {
  return fits(value, members) ? value : undefined
}

function fits<T extends object>(
  value: unknown,
  members: { readonly [Name in keyof T]: (value: unknown) => value is T[Name] },
): value is T {
  if (!isObject(value)) return false
  const checks = Object.entries<(value: unknown) => boolean>(members)
  return checks.length === Object.keys(value).length && checks.every(([name, check]) => check(value[name]))
}

export const isText = (value: unknown): value is string => typeof value === 'string'

/** RFC 3339, UTC, milliseconds. */
export const isTime = (value: unknown): value is string =>
  typeof value === 'string' && !Number.isNaN(Date.parse(value)) && new Date(value).toISOString() === value

export const orNull =
  <T>(check: (value: unknown) => value is T) =>
  (value: unknown): value is T | null =>
    value === null || check(value)

export const oneOf =
  <const Names extends readonly string[]>(...names: Names) =>
  (value: unknown): value is Names[number] =>
    isText(value) && names.includes(value)

export const listOf =
  <T>(check: (value: unknown) => value is T) =>
  (value: unknown): value is readonly T[] =>
    Array.isArray(value) && value.every(check)

function operationOf({ table, key, value }: Change): KvOperation {
  return {
    table,
    key: typeof key === 'string' ? Buffer.from(key, 'utf8') : key,
    value: value === null ? null : Buffer.from(JSON.stringify(value), 'utf8'),
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'))
  } catch {
    return undefined
  }
}
