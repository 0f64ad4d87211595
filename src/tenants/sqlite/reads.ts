/** Reading a selection piece by piece, so that neither its length nor the size of its documents decides how much memory it takes. */
import type { StoredDocument } from '../contract.js'
import { readField } from '../field-path.js'
import { parseFields } from '../json.js'
import type { CheckedSelection } from '../query.js'
import { type Position, sortKeyOf } from '../sort-key.js'
import { compile } from './compile.js'
import type { OpenTenant } from './open-tenant.js'
import { type DocumentTable, toDocument } from './table.js'

/** Of fields, in characters; beyond it an answer ends early. */
const MAX_ANSWER_SIZE = 16 * 1_048_576
/** How many documents are read before their usual size is known: the default page in one piece. */
const FIRST_PIECE = 128

export interface Answer {
  readonly documents: StoredDocument[]
  /** Documents were left out because the answer would have become too large. */
  readonly isCut: boolean
}

/** The first `wanted` documents of a selection after a position. */
export async function readSelection(
  tenant: OpenTenant,
  table: DocumentTable,
  selection: CheckedSelection,
  after: Position | undefined,
  wanted: number,
): Promise<Answer> {
  const documents: StoredDocument[] = []
  let size = 0
  let reads = compile(table, selection, after)
  for (let read = reads[0]; read !== undefined && documents.length < wanted; read = reads[0]) {
    const piece = Math.min(wanted - documents.length, nextPiece(documents.length, size))
    const rows = await tenant.store.query(read.sql, [...read.params, piece])
    for (const row of rows) {
      const document = toDocument(table, row)
      size += document.fieldsJson.length
      if (size > MAX_ANSWER_SIZE) return { documents, isCut: true }
      documents.push(document)
    }
    const last = documents.at(-1)
    reads =
      rows.length < piece || last === undefined
        ? reads.slice(1)
        : compile(table, selection, positionOf(last, selection))
  }
  return { documents, isCut: false }
}

/** Where a page that ends with this document ended. */
export function positionOf(document: StoredDocument, { orderBy }: CheckedSelection): Position {
  if (orderBy === undefined) return { id: document.id, key: undefined }
  return { id: document.id, key: sortKeyOf(readField(parseFields(document.fieldsJson), orderBy.split('.'))) }
}

/** As many documents as should fit what is left of the answer. */
function nextPiece(documents: number, size: number): number {
  if (documents === 0) return FIRST_PIECE
  const usual = Math.max(1, size / documents)
  return Math.max(1, Math.ceil((MAX_ANSWER_SIZE - size) / usual))
}
