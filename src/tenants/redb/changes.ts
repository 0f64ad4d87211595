/** What a batch of requests changes, until all of it is committed or none: seen by the requests of the batch, and by nobody else. */
import type { KvOperation } from '../../native.js'
import type { StoredDocument } from '../contract.js'
import { type DocumentTable, tableOperation } from './table.js'
import { encodeDocument } from './record.js'

/** By the redb table, then by the key as Latin-1 text, which is what a map can compare. */
type ByKey<T> = Map<string, Map<string, T>>

const NOTHING = Buffer.alloc(0)

export class Changes {
  readonly #below: Changes | undefined
  readonly #tables = new Map<string, DocumentTable>()
  readonly #documents: ByKey<StoredDocument | null> = new Map()
  readonly #entries: ByKey<boolean> = new Map()
  readonly #owned: ByKey<boolean> = new Map()

  /** @param below changes that these are made on top of */
  constructor(below?: Changes) {
    this.#below = below
  }

  /** Tables that are made. */
  get tables(): DocumentTable[] {
    return [...(this.#below?.tables ?? []), ...this.#tables.values()]
  }

  addTable(table: DocumentTable): void {
    this.#tables.set(table.name, table)
  }

  findTable(name: string): DocumentTable | undefined {
    return this.#tables.get(name) ?? this.#below?.findTable(name)
  }

  setDocument(docs: string, key: Buffer, document: StoredDocument | null): void {
    put(this.#documents, docs, textOf(key), document)
  }

  /** `null` if it is deleted, `undefined` if it is not changed. */
  findDocument(docs: string, key: Buffer): StoredDocument | null | undefined {
    const found = this.#documents.get(docs)?.get(textOf(key))
    return found === undefined ? this.#below?.findDocument(docs, key) : found
  }

  /** An entry of an index, of these values and this document, comes or goes. */
  setEntry(entries: string, values: Buffer, key: Buffer, isThere: boolean): void {
    put(this.#entries, entries, textOf(values) + textOf(key), isThere)
  }

  /** Whether a document has these values in a unique index. */
  setOwned(entries: string, values: Buffer, isOwned: boolean): void {
    put(this.#owned, entries, textOf(values), isOwned)
  }

  /** `undefined` if no change has touched them. */
  findOwned(entries: string, values: Buffer): boolean | undefined {
    return this.#owned.get(entries)?.get(textOf(values)) ?? this.#below?.findOwned(entries, values)
  }

  /** Makes these changes part of those that they were made on top of. */
  settle(): void {
    const below = this.#below
    if (below === undefined) return
    for (const table of this.#tables.values()) below.addTable(table)
    merge(this.#documents, below.#documents)
    merge(this.#entries, below.#entries)
    merge(this.#owned, below.#owned)
  }

  /** One for each key, whatever became of it meanwhile; table by table. */
  operations(): KvOperation[] {
    const operations = Array.from(this.#tables.values(), tableOperation)
    for (const [table, documents] of this.#documents) {
      for (const [key, document] of documents) {
        operations.push({ table, key: bytesOf(key), value: document && encodeDocument(document) })
      }
    }
    for (const [table, entries] of this.#entries) {
      for (const [key, isThere] of entries) {
        operations.push({ table, key: bytesOf(key), value: isThere ? NOTHING : null })
      }
    }
    return operations
  }
}

function put<T>(changes: ByKey<T>, table: string, key: string, value: T): void {
  const ofTable = changes.get(table)
  if (ofTable === undefined) changes.set(table, new Map([[key, value]]))
  else ofTable.set(key, value)
}

function merge<T>(from: ByKey<T>, into: ByKey<T>): void {
  for (const [table, ofTable] of from) {
    for (const [key, value] of ofTable) put(into, table, key, value)
  }
}

function textOf(key: Buffer): string {
  return key.toString('latin1')
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}
