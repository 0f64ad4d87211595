/** What a request is planned on: the last commit, and on top of it what its batch changes before it and what it changes itself. */
import type { KvSnapshot } from '../../native.js'
import type { StoredDocument } from '../contract.js'
import { type DocumentId, parseDocumentId } from '../ids.js'
import { type JsonObject, parseFields } from '../json.js'
import { type Ground, type Parsed, uniqueViolation } from '../planner.js'
import type { Changes } from './changes.js'
import { documentKey, endOf } from './keys.js'
import { decodeDocument } from './record.js'
import { asBuffer } from './source.js'
import { type DocumentTable, type IndexState, valuesIn } from './table.js'

/** What does not change while a request is planned. */
export interface Committed {
  readonly snapshot: Pick<KvSnapshot, 'get' | 'range'>
  readonly path: string
  find(table: string): DocumentTable | undefined
  nextId(table: DocumentTable): DocumentId
}

export class RedbGround implements Ground<DocumentTable> {
  readonly #committed: Committed
  readonly #changes: Changes

  constructor(committed: Committed, changes: Changes) {
    this.#committed = committed
    this.#changes = changes
  }

  find(table: string): DocumentTable | undefined {
    return this.#committed.find(table) ?? this.#changes.findTable(table)
  }

  read(table: DocumentTable, id: DocumentId): StoredDocument | undefined {
    const key = documentKey(id)
    const changed = this.#changes.findDocument(table.docs, key)
    const { snapshot, path } = this.#committed
    const document = changed === undefined ? readDocument(snapshot, table, key, path) : (changed ?? undefined)
    return document?.id === id.text ? document : undefined
  }

  nextId(table: DocumentTable): DocumentId {
    return this.#committed.nextId(table)
  }

  inserted(table: DocumentTable, id: DocumentId, { document, fields }: Parsed): void {
    this.#change(table, documentKey(id), undefined, fields, document)
  }

  updated(table: DocumentTable, before: Parsed, { document, fields }: Parsed): void {
    this.#change(table, keyOf(document), before.fields, fields, document)
  }

  deleted(table: DocumentTable, before: StoredDocument): void {
    const fields = table.indexes.length === 0 ? undefined : parseFields(before.fieldsJson)
    this.#change(table, keyOf(before), fields, undefined, null)
  }

  /** The document and its entries in every index, which are there before and after it together or not at all. */
  #change(
    table: DocumentTable,
    key: Buffer,
    before: JsonObject | undefined,
    after: JsonObject | undefined,
    document: StoredDocument | null,
  ): void {
    for (const index of table.indexes) {
      const old = before && valuesIn(index, before)
      const fresh = after && valuesIn(index, after)
      if (old !== undefined && fresh?.values.equals(old.values)) continue
      if (fresh?.isUnique && this.#isTaken(index, fresh.values)) throw uniqueViolation(index.name)
      if (old !== undefined) {
        this.#changes.setEntry(index.entries, old.values, key, false)
        if (old.isUnique) this.#changes.setOwned(index.entries, old.values, false)
      }
      if (fresh !== undefined) {
        this.#changes.setEntry(index.entries, fresh.values, key, true)
        if (fresh.isUnique) this.#changes.setOwned(index.entries, fresh.values, true)
      }
    }
    this.#changes.setDocument(table.docs, key, document)
  }

  /** Whether a document has these values in a unique index; it is another one, since this one's change. */
  #isTaken({ entries }: IndexState, values: Buffer): boolean {
    const changed = this.#changes.findOwned(entries, values)
    if (changed !== undefined) return changed
    const range = { from: { key: values, inclusive: true }, to: { key: endOf(values), inclusive: false } }
    const { pairs } = this.#committed.snapshot.range(entries, { ...range, limit: 1, mostBytes: 1 })
    return pairs.length > 0
  }
}

/** The document of a key; whether its id is the one that was asked for is the caller's to see. */
export function readDocument(
  from: Pick<KvSnapshot, 'get'>,
  table: DocumentTable,
  key: Buffer,
  path: string,
): StoredDocument | undefined {
  const record = from.get(table.docs, key)
  return record && decodeDocument(table.name, key, asBuffer(record), path)
}

function keyOf({ id }: StoredDocument): Buffer {
  const parsed = parseDocumentId(id)
  if (parsed === undefined) throw new TypeError('a stored document has an id that is none')
  return documentKey(parsed)
}
