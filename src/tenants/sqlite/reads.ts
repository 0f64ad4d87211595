/** Reading a selection so that neither its length nor the size of its documents decides how much memory it takes. */
import type { StoredDocument } from '../contract.js'
import { readField } from '../field-path.js'
import { parseFields } from '../json.js'
import type { CheckedSelection } from '../query.js'
import { type Position, sortKeyOf } from '../sort-key.js'
import { compile } from './compile.js'
import type { OpenTenant } from './open-tenant.js'
import { type DocumentTable, toDocument } from './table.js'

/** Of documents, in bytes; beyond it an answer ends early. */
const MAX_ANSWER_BYTES = 16 * 1_048_576

export interface Answer {
  readonly documents: StoredDocument[]
  /** Documents were left out because the answer would have become too large. */
  readonly isCut: boolean
}

/** The first `wanted` documents of a selection after a position, all of them from one state of the table. */
export async function readSelection(
  tenant: OpenTenant,
  table: DocumentTable,
  selection: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  const { sql, params } = compile(table, selection, after, wanted)
  const { rows, isCut } = await tenant.store.queryUpTo(MAX_ANSWER_BYTES, sql, [...params])
  return { documents: rows.map((row) => toDocument(table, row)), isCut }
}

/** Where a page that ends with this document ended. */
export function positionOf(document: StoredDocument, { orderBy }: CheckedSelection): Position {
  if (orderBy === undefined) return { id: document.id, key: undefined }
  return { id: document.id, key: sortKeyOf(readField(parseFields(document.fieldsJson), orderBy.split('.'))) }
}
