/**
 * The document contract: what every tenant provider promises, and what the server and the contract suite rely on.
 *
 * Errors are `NimbusError`s; each method names its codes. Besides those, every method may fail with `shutting_down` after
 * `close`, `tenant_not_found` once its tenant is deleted, `file_corrupt`, `disk_full` and `io_error`, and those that come back
 * with an error have changed nothing, but for `io_error`, after which a write may or may not have happened.
 */
import type { FileStatus, SeenFile } from '../encryption/status.js'
import type { Findings, VerifyOptions } from '../native.js'
import type { JsonObject } from './json.js'
import type { Query, Selection } from './query.js'
import type { TableSchema, TableSchemaInput } from './schema.js'

/** A document as it is stored. Its fields are JSON text, so that an answer can carry them without parsing. */
export interface StoredDocument {
  /** UUID version 7 in lower case; greater than that of every document whose insertion into the table had ended before this one began. */
  readonly id: string
  readonly table: string
  /** 1 at first, one more with every change. */
  readonly version: number
  /** Milliseconds since 1970-01-01 UTC. */
  readonly createdAt: number
  /** Milliseconds since 1970-01-01 UTC; never before `createdAt`, never going back. */
  readonly updatedAt: number
  readonly fieldsJson: string
}

export interface DocumentPage {
  readonly documents: StoredDocument[]
  /** For `after`, with the same selection; `null` when nothing follows. */
  readonly nextCursor: string | null
}

export interface PageRequest {
  /** 1 to 1,000; 100 if left out. A page ends early at 16 MiB of fields, with a cursor for the rest. */
  readonly limit?: number | undefined
  readonly after?: string | undefined
}

/** One operation of a transaction. An insert is given its id by the server; an update merges like `patch`. */
export type Operation =
  | { readonly op: 'insert'; readonly table: string; readonly fields: JsonObject }
  | {
      readonly op: 'update'
      readonly table: string
      readonly id: string
      readonly fields: JsonObject
      readonly ifVersion?: number | undefined
    }
  | { readonly op: 'delete'; readonly table: string; readonly id: string; readonly ifVersion?: number | undefined }

export type OperationResult =
  | { readonly op: 'insert' | 'update'; readonly document: StoredDocument }
  | { readonly op: 'delete'; readonly table: string; readonly id: string }

/**
 * The documents of one tenant. Tables are made by the first insert or schema and their names match
 * `[A-Za-z_][A-Za-z0-9_]{0,62}` (else `invalid_request`); a table that was never made reads as an empty one.
 *
 * A change is durable when its promise resolves, and every read begun after that sees it.
 */
export interface TenantStore {
  /** @throws `invalid_request`, `body_too_large`, `schema_violation`, `unique_violation` */
  insert(table: string, fields: JsonObject): Promise<StoredDocument>

  /** Synchronous where the provider can answer on the caller's thread. @throws `document_not_found` */
  get(table: string, id: string): StoredDocument | Promise<StoredDocument>

  /**
   * Merges `fields` into the document's (RFC 7396). Concurrent patches of one document all take effect, one after another.
   *
   * @throws `document_not_found`; `version_conflict` if `ifVersion` is given and not the document's version; those of `insert`
   */
  patch(table: string, id: string, fields: JsonObject, ifVersion?: number): Promise<StoredDocument>

  /** @throws `document_not_found`, `version_conflict` */
  delete(table: string, id: string, ifVersion?: number): Promise<void>

  /** All documents in order of id, which is the order of insertion. @throws `invalid_request`, `invalid_cursor` */
  list(table: string, page: PageRequest): Promise<DocumentPage>

  /**
   * The first documents of a selection. Values compare as `sort-key.ts` says: those of two JSON types are never equal, and an
   * order compares equal values by id. `neq` is the opposite of `eq`, and so matches documents without the field;
   * `eq` with `null` matches `null` and not a missing field.
   *
   * @throws `invalid_request`, also if the result would exceed 16 MiB of fields
   */
  query(query: Query): Promise<StoredDocument[]>

  /**
   * One page of a selection. A walk along its cursors meets every document that stays in the selection and keeps its place
   * exactly once, whatever is inserted, changed or deleted meanwhile; a deleted document does not break a cursor.
   *
   * @throws `invalid_request`, also for an order by values too long for a cursor (about 6,000 bytes); `invalid_cursor` for a
   * damaged cursor or one of another selection
   */
  queryPage(selection: Selection, page: PageRequest): Promise<DocumentPage>

  /**
   * Replaces a table's schema. Writes to the table wait meanwhile; documents are checked, never changed.
   *
   * @throws `invalid_request`; `schema_violation` with the path of a field and, in the detail, the id of a document that violates
   * it; `unique_violation` naming an index whose values are not unique. The old schema then stays.
   */
  putSchema(table: string, schema: TableSchemaInput): Promise<TableSchema>

  /** @throws `document_not_found` if the table has no schema */
  getSchema(table: string): TableSchema | Promise<TableSchema>

  /** Documents stay; indexes go. @throws `document_not_found` if the table has no schema */
  deleteSchema(table: string): Promise<void>

  /**
   * All operations or none, in their order; each sees those before it. 1 to 1,000 operations.
   *
   * @throws those of `insert`, `patch` and `delete`, with the index of the failed operation as `operation` in the detail;
   * `invalid_request` also if the documents before and after their changes exceed 16 MiB of fields together
   */
  transact(operations: readonly Operation[]): Promise<OperationResult[]>
}

export interface TenantInfo {
  readonly id: string
  /** The provider's name. */
  readonly provider: string
  readonly encrypted: boolean
  /** Milliseconds since 1970-01-01 UTC. */
  readonly createdAt: number
}

export interface TenantPage {
  readonly tenants: TenantInfo[]
  readonly nextCursor: string | null
}

/** Counters never go back while the process lives. */
export interface TenantStats {
  readonly tenants: number
  readonly openTenants: number
  /** Transactions of the storage engine, and the requests that they carried. */
  readonly commits: number
  readonly requests: number
  /** Write requests that wait for a commit, and their size. */
  readonly queued: number
  readonly queuedBytes: number
}

/** All tenants of a server. Every method but `start` and `stats` may be called only after `start` has resolved. */
export interface TenantProvider {
  readonly name: 'sqlite' | 'redb' | 'libsql-replica' | 'postgres' | 'mysql'

  /**
   * Finishes interrupted creations and deletions, and checks that every tenant could be opened: its manifest, its key, and
   * that the two belong to its file. Rejects with the error of the first tenant that could not, naming its file; nothing else
   * was then written. Resolves with what it saw of each tenant's file; with nothing, if tenants have none.
   */
  start(): Promise<readonly SeenFile[]>

  /** Every tenant, without opening one; in no particular order. */
  ids(): readonly string[] | Promise<readonly string[]>

  /** The tenant exists, durably, when this resolves. @throws `invalid_tenant_id`, `tenant_exists` */
  create(id: string): Promise<TenantInfo>

  /** Waits for the tenant's running requests, then removes all of it. @throws `invalid_tenant_id`, `tenant_not_found` */
  delete(id: string): Promise<void>

  /** In order of id. @throws `invalid_request`, `invalid_cursor` */
  list(page: PageRequest): Promise<TenantPage>

  /** The tenant's documents; the object stays valid until the tenant is deleted. @throws `invalid_tenant_id`, `tenant_not_found` */
  open(id: string): TenantStore | Promise<TenantStore>

  /**
   * Authenticates every page of an encrypted tenant's file, as it lies on the disk, while the tenant is served. Deleting the tenant
   * does not wait for it.
   *
   * @throws `invalid_tenant_id`, `tenant_not_found`, `encryption_not_configured` for a plain file; what opening it throws; what the
   * signal was aborted with
   */
  verify(id: string, options: VerifyOptions): Promise<Findings>

  /** What is on the disk for each tenant, without opening a database file. */
  files(): Promise<FileStatus[]>

  stats(): TenantStats

  /** Finishes running requests and closes everything; later calls fail with `shutting_down`. */
  close(): Promise<void>
}
