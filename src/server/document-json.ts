/** Writes answers with documents as text: their fields are stored as JSON already and pass through unparsed. */
import type { DocumentPage, StoredDocument } from '../tenants/contract.js'
import { timestamp } from './timestamp.js'

export function documentJson({ id, table, version, createdAt, updatedAt, fieldsJson }: StoredDocument): string {
  // Neither an id nor a table's name has a character that JSON would escape.
  return (
    `{"id":"${id}","table":"${table}","version":${version},` +
    `"created_at":"${timestamp(createdAt)}","updated_at":"${timestamp(updatedAt)}","fields":${fieldsJson}}`
  )
}

export function documentsJson(documents: readonly StoredDocument[]): string {
  return `{"data":${listJson(documents)}}`
}

export function documentPageJson({ documents, nextCursor }: DocumentPage): string {
  return `{"data":${listJson(documents)},"next_cursor":${JSON.stringify(nextCursor)},"has_more":${nextCursor !== null}}`
}

function listJson(documents: readonly StoredDocument[]): string {
  return `[${documents.map(documentJson).join(',')}]`
}
