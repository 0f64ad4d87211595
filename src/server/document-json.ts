/** Writes answers with documents as text: their fields are stored as JSON already and pass through unparsed. */
import type { DocumentPage, StoredDocument } from '../tenants/contract.js'

export function documentJson({ id, table, version, createdAt, updatedAt, fieldsJson }: StoredDocument): string {
  return (
    `{"id":${JSON.stringify(id)},"table":${JSON.stringify(table)},"version":${version},` +
    `"created_at":"${timestamp(createdAt)}","updated_at":"${timestamp(updatedAt)}","fields":${fieldsJson}}`
  )
}

export function documentsJson(documents: readonly StoredDocument[]): string {
  return `{"data":${listJson(documents)}}`
}

export function documentPageJson({ documents, nextCursor }: DocumentPage): string {
  return `{"data":${listJson(documents)},"next_cursor":${JSON.stringify(nextCursor)},"has_more":${nextCursor !== null}}`
}

/** RFC 3339 in UTC, of milliseconds since the epoch. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}

function listJson(documents: readonly StoredDocument[]): string {
  return `[${documents.map(documentJson).join(',')}]`
}
