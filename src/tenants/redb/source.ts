/** The documents of a table as one snapshot has them, read a batch at a time. */
import { NimbusError } from '../../errors.js'
import type { KvPairs, KvSnapshot } from '../../native.js'
import type { StoredDocument } from '../contract.js'
import { type JsonObject, parseFields } from '../json.js'
import { isSliceOver, nextSlice } from '../slices.js'
import type { DocumentTable } from './table.js'
import { documentKeyOf } from './keys.js'
import { decodeDocument } from './record.js'
import type { Route, Span } from './route.js'

/** Of keys and values, in bytes. A long reader has the next batch read while it works on one, and so holds two of them. */
const BATCH_BYTES = 256 * 1024
const FIRST_BATCH = 32
const LARGEST_BATCH = 1024

type Reader = Pick<KvSnapshot, 'get' | 'rangeAsync'>
type Pair = KvPairs['pairs'][number]

export class Source {
  readonly table: DocumentTable
  readonly #snapshot: Reader
  readonly #path: string

  /** The snapshot stays the caller's to close. */
  constructor(snapshot: Reader, table: DocumentTable, path: string) {
    this.table = table
    this.#snapshot = snapshot
    this.#path = path
  }

  /** In order of id. `expected` documents will be read if nothing is known besides. */
  async *documents(span: Span, reverse: boolean, expected = FIRST_BATCH): AsyncGenerator<StoredDocument> {
    const { name, docs } = this.table
    for await (const [key, record] of this.#pairs(docs, span, reverse, expected)) {
      yield decodeDocument(name, asBuffer(key), asBuffer(record), this.#path)
    }
  }

  /** The entries of an index, in their order. */
  async *entries({ index, span }: Pick<Route, 'index' | 'span'>, reverse: boolean): AsyncGenerator<Buffer> {
    for await (const [entry] of this.#pairs(index.entries, span, reverse, FIRST_BATCH)) yield asBuffer(entry)
  }

  /** The documents that the entries of an index name, in the order of the entries. */
  async *through(route: Pick<Route, 'index' | 'span'>, reverse: boolean): AsyncGenerator<StoredDocument> {
    for await (const entry of this.entries(route, reverse)) yield this.document(documentKeyOf(entry))
  }

  /** The documents of these keys, in the order of the keys. */
  async *named(keys: Iterable<Buffer>): AsyncGenerator<StoredDocument> {
    for (const key of keys) {
      if (isSliceOver()) await nextSlice()
      yield this.document(key)
    }
  }

  /** A document that an index names. @throws `file_corrupt` if there is none */
  document(key: Buffer): StoredDocument {
    const { name, docs } = this.table
    const record = this.#snapshot.get(docs, key)
    if (record !== undefined) return decodeDocument(name, key, asBuffer(record), this.#path)
    throw new NimbusError(
      'file_corrupt',
      `an index of table ${name} in ${this.#path} names a document that is not there`,
      {
        path: this.#path,
      },
    )
  }

  fieldsOf(document: StoredDocument): JsonObject {
    return parseFields(document.fieldsJson)
  }

  async *#pairs(table: string, { from, to }: Span, reverse: boolean, expected: number): AsyncGenerator<Pair> {
    let limit = Math.min(expected, LARGEST_BATCH)
    let span = { from, to }
    const read = (): Promise<KvPairs> | undefined => {
      if (Buffer.compare(span.from, span.to) >= 0) return undefined
      return this.#snapshot.rangeAsync(table, {
        from: { key: span.from, inclusive: true },
        to: { key: span.to, inclusive: false },
        reverse,
        limit,
        mostBytes: BATCH_BYTES,
      })
    }
    let reading = read()
    let isLong = false
    try {
      while (reading !== undefined) {
        const { pairs, hasMore } = await reading
        const last = pairs.at(-1)?.[0]
        limit = Math.min(4 * limit, LARGEST_BATCH)
        span = last === undefined || !hasMore ? NOTHING : rest(span, asBuffer(last), reverse)
        reading = isLong ? read() : undefined
        for (const pair of pairs) {
          if (isSliceOver()) await nextSlice()
          yield pair
        }
        isLong = true
        reading ??= read()
      }
    } finally {
      // Nobody waits for the batch that was read ahead, so nobody else would see it fail.
      reading?.catch(() => undefined)
    }
  }
}

const NOTHING: Span = { from: Buffer.alloc(0), to: Buffer.alloc(0) }

/** What of a span comes after this key, which lies in it. */
function rest({ from, to }: Span, key: Buffer, reverse: boolean): Span {
  return reverse ? { from, to: key } : { from: Buffer.concat([key, Buffer.from([0])]), to }
}

/** The same memory. */
export function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
