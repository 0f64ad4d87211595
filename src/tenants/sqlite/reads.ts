/** Reading a selection so that neither its length nor the size of its documents decides how much memory it takes. */
import type { SqliteStore } from '../../native.js'
import type { StoredDocument } from '../contract.js'
import type { DocumentId } from '../ids.js'
import { type Answer, MAX_ANSWER_BYTES, type Prepared } from '../open-tenant.js'
import { compile } from './compile.js'
import { type DocumentTable, idParams, readByIdSql, toDocument } from './table.js'

/** The first `wanted` documents of a selection after a position, all of them from one state of the table. */
export async function readSelection(
  store: SqliteStore,
  table: DocumentTable,
  { checked, after }: Prepared,
  wanted: number,
): Promise<Answer> {
  const { sql, params } = compile(table, checked, after, wanted)
  const { rows, isCut } = await store.queryUpTo(MAX_ANSWER_BYTES, sql, [...params])
  return { documents: rows.map((row) => toDocument(table, row)), isCut }
}

export function readDocument(store: SqliteStore, table: DocumentTable, id: DocumentId): StoredDocument | undefined {
  const row = store.get(readByIdSql(table), idParams(id))
  return row === undefined ? undefined : toDocument(table, row)
}
