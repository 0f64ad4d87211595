/** Writes answers with documents as text: their fields are stored as JSON already and pass through unparsed. */
import type { DocumentPage, StoredDocument } from '../tenants/contract.js'

export function documentJson({ id, table, version, createdAt, updatedAt, fieldsJson }: StoredDocument): string {
  const created = timestamp(createdAt)
  // A time of day as text costs as much as all the rest here, and most documents are never changed.
  const updated = updatedAt === createdAt ? created : timestamp(updatedAt)
  // Neither an id nor a table's name has a character that JSON would escape.
  return (
    `{"id":"${id}","table":"${table}","version":${version},` +
    `"created_at":"${created}","updated_at":"${updated}","fields":${fieldsJson}}`
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
