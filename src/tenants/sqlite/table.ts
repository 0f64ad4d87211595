/** The SQL of one document table. Every identifier is made of a number: no text of a client ever becomes one. */
import type { Row, SqlParameter, Step } from '../../native.js'
import { NimbusError } from '../../errors.js'
import type { StoredDocument } from '../contract.js'
import { type DocumentId, parseDocumentId } from '../ids.js'
import type { TableSchema } from '../schema.js'

/**
 * A table, as one state of the catalog knows it; a change of its schema makes another object.
 *
 * `docs_<id>` has the document's id in two forms: `seq`, the part that orders it (48 bits of time, 12 of counter), is the
 * rowid, so that a read by id descends one tree, documents lie in the order of their ids, and every index ends with it
 * for free. `id`, the whole of it, is compared besides.
 *
 * `key_<n>` is a virtual column, computed and stored nowhere but in indexes: a field's place in the order of
 * all JSON values (`sort-key.ts`), in SQLite's own order of numbers, then texts, then blobs.
 */
export interface DocumentTable {
  readonly id: number
  readonly name: string
  readonly schema: TableSchema | undefined
  /** The number of the key column of a field path, for the paths that are indexed. */
  readonly keys: ReadonlyMap<string, number>
  /** The number of an index of the schema, by its name. */
  readonly indexes: ReadonlyMap<string, number>
}

const COLUMNS = 'id, version, created_at, updated_at, fields'
/** Of parameters 1 and 2; 64-bit arithmetic of SQLite, beyond what a JavaScript number holds. */
const SEQ = '((?1 << 12) | ?2)'

export function docsOf(table: DocumentTable): string {
  return `docs_${table.id}`
}

export function keyColumn(number: number): string {
  return `key_${number}`
}

export function createDocsSql(table: DocumentTable): string {
  return `CREATE TABLE ${docsOf(table)} (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    fields TEXT NOT NULL
  )`
}

/** What `toDocument` reads, of rows that satisfy a condition. */
export function selectSql(table: DocumentTable, condition: string, order: string): string {
  return `SELECT ${COLUMNS} FROM ${docsOf(table)} WHERE ${condition} ORDER BY ${order}`
}

export function readByIdSql(table: DocumentTable): string {
  return `SELECT ${COLUMNS} FROM ${docsOf(table)} WHERE seq = ${SEQ} AND id = ?3`
}

/** The milliseconds of the newest id of a table; NULL if it is empty. */
export function newestMsSql(table: DocumentTable): string {
  return `SELECT max(seq) >> 12 FROM ${docsOf(table)}`
}

export function insertStep(table: DocumentTable, id: DocumentId, document: StoredDocument): Step {
  return {
    sql: `INSERT INTO ${docsOf(table)} (seq, ${COLUMNS}) VALUES (${SEQ}, ?3, ?4, ?5, ?6, ?7)`,
    params: [...idParams(id), document.version, document.createdAt, document.updatedAt, document.fieldsJson],
  }
}

/** Fails the request unless the document is still at the version before. */
export function updateStep(table: DocumentTable, document: StoredDocument): Step {
  return {
    sql: `UPDATE ${docsOf(table)} SET version = ?4, updated_at = ?5, fields = ?6
      WHERE seq = ${SEQ} AND id = ?3 AND version = ?4 - 1`,
    params: [...idParams(storedId(document)), document.version, document.updatedAt, document.fieldsJson],
    atLeast: 1,
  }
}

/** Fails the request unless the document is still at its version. */
export function deleteStep(table: DocumentTable, document: StoredDocument): Step {
  return {
    sql: `DELETE FROM ${docsOf(table)} WHERE seq = ${SEQ} AND id = ?3 AND version = ?4`,
    params: [...idParams(storedId(document)), document.version],
    atLeast: 1,
  }
}

/** Parameters 1 to 3 of the statements that name one document. */
export function idParams(id: DocumentId): SqlParameter[] {
  return [id.ms, id.counter, id.text]
}

/** A row of `selectSql` or `readByIdSql`. */
export function toDocument(table: DocumentTable, row: Row): StoredDocument {
  const [id, version, createdAt, updatedAt, fieldsJson] = row
  if (
    typeof id !== 'string' ||
    typeof version !== 'number' ||
    typeof createdAt !== 'number' ||
    typeof updatedAt !== 'number' ||
    typeof fieldsJson !== 'string'
  ) {
    throw new NimbusError('file_corrupt', `a document of table ${table.name} is not of the types that nimbus stores`)
  }
  return { id, table: table.name, version, createdAt, updatedAt, fieldsJson }
}

function storedId(document: StoredDocument): DocumentId {
  const id = parseDocumentId(document.id)
  if (id === undefined) throw new TypeError('a stored document has an id that is none')
  return id
}
