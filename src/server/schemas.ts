/** The shapes of the HTTP interface: requests are checked against them, types and /openapi.json come from them. */
import { Type, type Static, type TSchema } from 'typebox'
import { LISTED_PAGES } from '../encryption/verify-report.js'
import type { JsonObject } from '../tenants/json.js'
import { MAX_LIMIT } from '../tenants/query.js'

/** Unknown fields are refused everywhere. */
const strict = { additionalProperties: false }

const LONGEST_CURSOR = 8192

function oneOf<const Names extends readonly string[]>(names: Names) {
  return Type.Unsafe<Names[number]>({ type: 'string', enum: names })
}

/** Any JSON object; what of it can be stored is checked where it is stored. */
const fields = Type.Unsafe<JsonObject>({ type: 'object', description: 'Any JSON object.' })
const limit = Type.Integer({ minimum: 1, maximum: MAX_LIMIT, default: 100 })
const after = Type.String({ minLength: 1, maxLength: LONGEST_CURSOR, description: 'next_cursor of the page before.' })
const timestamp = Type.String({ description: 'RFC 3339 in UTC.', examples: ['2026-01-31T09:30:00.000Z'] })
const version = Type.Integer({ minimum: 1 })
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

export const TenantPath = Type.Object({ tenant: Type.String() }, strict)
export const TablePath = Type.Object({ tenant: Type.String(), table: Type.String() }, strict)
export const DocumentPath = Type.Object({ tenant: Type.String(), table: Type.String(), id: Type.String() }, strict)

export const TokenPath = Type.Object({ id: Type.String() }, strict)

export const NoQuery = Type.Object({}, strict)
export const PageQuery = Type.Object({ limit: Type.Optional(limit), after: Type.Optional(after) }, strict)

export const EventQuery = Type.Object({ limit: Type.Optional(limit) }, strict)

export const VerifyQuery = Type.Object(
  {
    bytes_per_second: Type.Optional(
      Type.Integer({ minimum: 65_536, default: 33_554_432, description: 'As fast as it may read.' }),
    ),
  },
  strict,
)
export const VerificationQuery = Type.Object(
  { after: Type.Optional(Type.Integer({ minimum: 0, default: 0, description: 'Leaves out so many results.' })) },
  strict,
)

export const NewTenant = Type.Object({ id: Type.String() }, strict)
export const NewDocument = Type.Object({ table: Type.String(), fields }, strict)
export const DocumentPatch = Type.Object({ fields, if_version: Type.Optional(version) }, strict)

const Filter = Type.Object(
  {
    field: Type.String(),
    op: oneOf(['eq', 'neq', 'gt', 'gte', 'lt', 'lte']),
    value: Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]),
  },
  strict,
)
const Order = Type.Object(
  { field: Type.Optional(Type.String()), direction: Type.Optional(oneOf(['asc', 'desc'])) },
  strict,
)
const selection = {
  table: Type.String(),
  filters: Type.Optional(Type.Array(Filter)),
  order: Type.Optional(Order),
}

export const Query = Type.Object({ ...selection, limit: Type.Optional(limit) }, strict)
export const PagedQuery = Type.Object(
  { ...selection, page_size: Type.Optional(limit), after: Type.Optional(after) },
  strict,
)

const FieldRule = Type.Object(
  {
    type: oneOf(['string', 'number', 'boolean', 'datetime', 'json']),
    required: Type.Optional(Type.Boolean({ default: false })),
  },
  strict,
)
const IndexRule = Type.Object(
  {
    name: Type.String(),
    fields: Type.Array(Type.String()),
    unique: Type.Optional(Type.Boolean({ default: false })),
  },
  strict,
)
export const TableSchema = Type.Object(
  {
    fields: Type.Optional(
      Type.Unsafe<Record<string, Static<typeof FieldRule>>>({ type: 'object', additionalProperties: FieldRule }),
    ),
    indexes: Type.Optional(Type.Array(IndexRule)),
  },
  strict,
)

export const Operation = Type.Object(
  {
    op: oneOf(['insert', 'update', 'delete']),
    table: Type.String(),
    id: Type.Optional(Type.String({ description: 'Of update and delete.' })),
    fields: Type.Optional(fields),
    if_version: Type.Optional(version),
  },
  strict,
)
export const Transaction = Type.Object({ operations: Type.Array(Operation, { minItems: 1, maxItems: 1000 }) }, strict)

export const Tenant = Type.Object(
  { id: Type.String(), provider: Type.String(), encrypted: Type.Boolean(), created_at: timestamp },
  strict,
)
export const Document = Type.Object(
  {
    id: Type.String(),
    table: Type.String(),
    version,
    created_at: timestamp,
    updated_at: timestamp,
    fields,
  },
  strict,
)
const token = {
  id: Type.String(),
  prefix: Type.String({ description: 'The first 12 characters of the token.' }),
  name: Type.String(),
  tenants: Type.Array(Type.String(), { description: 'Tenant ids, or "*" alone for every tenant.' }),
  access: oneOf(['read', 'write']),
  created_at: timestamp,
  expires_at: nullable(timestamp),
  revoked_at: nullable(timestamp),
}
export const NewToken = Type.Object(
  {
    name: token.name,
    tenants: token.tenants,
    access: token.access,
    expires_at: Type.Optional(Type.String({ description: 'RFC 3339, UTC; left out, the token does not expire.' })),
  },
  strict,
)
export const Token = Type.Object(token, strict)
export const MadeToken = Type.Object({ ...token, token: Type.String() }, strict)
export const TokenList = pageOf(Token)
const Event = Type.Object(
  { at: timestamp, event: Type.String(), subject: Type.String(), note: nullable(Type.String()) },
  strict,
)
export const EventList = Type.Object({ data: Type.Array(Event) }, strict)

export const TenantList = pageOf(Tenant)
export const DocumentPage = pageOf(Document)
export const DocumentList = Type.Object({ data: Type.Array(Document) }, strict)
export const TransactionResult = Type.Union([
  Type.Object({ op: oneOf(['insert', 'update']), document: Document }, strict),
  Type.Object({ op: oneOf(['delete']), table: Type.String(), id: Type.String() }, strict),
])
export const TransactionResults = Type.Object({ results: Type.Array(TransactionResult) }, strict)
export const Health = Type.Object({ ok: Type.Boolean() }, strict)

const families = ['embedded_sqlite', 'embedded_redb', 'libsql_replica_cache', 'control_plane_redb'] as const
const OpenFile = Type.Object(
  {
    file_id: nullable(Type.String({ description: '32 hex digits; null of a plain file, like epoch and rolled_back.' })),
    epoch: nullable(Type.Integer({ minimum: 0, description: 'Of the newest durable commit.' })),
    rolled_back: nullable(Type.Boolean({ description: 'Whether opening it set an unfinished commit aside.' })),
    pages: Type.Integer({ minimum: 0, description: 'Of 4,096 bytes, used or free.' }),
    file_bytes: Type.Integer({ minimum: 0 }),
  },
  { ...strict, description: 'Of a redb file that the server has open.' },
)
export const FileEntry = Type.Object(
  {
    path: Type.String(),
    family: nullable(oneOf(families)),
    state: oneOf([
      'encrypted',
      'plaintext',
      'manifest_missing',
      'data_missing',
      'rotation_pending',
      'plaintext_left_behind',
      'unreadable',
    ]),
    subject: nullable(Type.String()),
    cipher: nullable(oneOf(['sqlcipher', 'aes-256-gcm-siv'])),
    profile: nullable(Type.String()),
    provider: nullable(Type.String()),
    key_id: nullable(Type.String()),
    generation: nullable(Type.String({ description: 'An unsigned 64-bit number in decimal.' })),
    created_at: nullable(timestamp),
    rotated_at: nullable(timestamp),
    verified_at: nullable(timestamp),
    size_bytes: nullable(Type.Integer({ minimum: 0 })),
    open: Type.Optional(OpenFile),
    note: Type.Optional(Type.String()),
  },
  strict,
)
export const EncryptionStatus = Type.Object(
  {
    enabled: Type.Boolean(),
    encrypted_families: Type.Array(oneOf(families)),
    descriptor: Type.Object(
      {
        status: oneOf(['enabled', 'disabled']),
        provider: Type.Optional(
          Type.String({
            description: 'master_key_file, key_directory, aws_kms, or the kind of a provider of your own.',
          }),
        ),
        path: Type.Optional(Type.String()),
        key_id: Type.Optional(Type.String()),
        region: Type.Optional(nullable(Type.String())),
      },
      strict,
    ),
    files: Type.Array(FileEntry),
  },
  strict,
)
const pageNumbers = Type.Optional(
  Type.Array(Type.Integer({ minimum: 0 }), {
    maxItems: LISTED_PAGES,
    description: 'The first of them; how many there are is in the count.',
  }),
)
const pageCount = Type.Optional(Type.Integer({ minimum: 0 }))
const VerifiedFile = Type.Object(
  {
    path: Type.String(),
    outcome: oneOf(['sound', 'damaged', 'failed', 'empty']),
    pages: Type.Optional(Type.Integer({ minimum: 0 })),
    log_pages: Type.Optional(Type.Integer({ minimum: 0 })),
    damaged_pages: pageNumbers,
    damaged_page_count: pageCount,
    unreferenced_pages: pageNumbers,
    unreferenced_page_count: pageCount,
    code: Type.Optional(Type.String({ description: 'Why a file could not be examined: a code of docs/errors.md.' })),
    note: Type.Optional(Type.String()),
  },
  strict,
)
export const Verification = Type.Object(
  {
    run: Type.Integer({ minimum: 0, description: 'Which one since the server was started; 0 before the first.' }),
    state: oneOf(['none', 'running', 'done', 'stopped']),
    started_at: nullable(timestamp),
    ended_at: nullable(timestamp),
    directories: Type.Array(Type.String()),
    bytes_per_second: nullable(Type.Integer({ minimum: 65_536 })),
    files: Type.Integer({ minimum: 0 }),
    files_done: Type.Integer({ minimum: 0 }),
    failures: Type.Integer({ minimum: 0, description: 'Files that are not whole.' }),
    current: nullable(
      Type.Object(
        {
          path: Type.String(),
          done_bytes: Type.Integer({ minimum: 0 }),
          total_bytes: Type.Integer({ minimum: 0 }),
        },
        strict,
      ),
    ),
    results: Type.Array(VerifiedFile, { description: 'At most 1,000; the others with a later `after`.' }),
    has_more: Type.Boolean(),
  },
  strict,
)
export const Failure = Type.Object(
  {
    error: Type.Object(
      {
        code: Type.String({ description: 'One of the codes of docs/errors.md.' }),
        message: Type.String(),
        request_id: nullable(Type.String()),
        retryable: Type.Boolean(),
        remediation: Type.String(),
        path: Type.Optional(Type.String({ description: 'The offending field.' })),
      },
      strict,
    ),
  },
  strict,
)

function pageOf<T extends TSchema>(item: T) {
  return Type.Object({ data: Type.Array(item), next_cursor: nullable(Type.String()), has_more: Type.Boolean() }, strict)
}

/** The schemas that /openapi.json gives a name of their own. */
export const NAMED_SCHEMAS: Readonly<Record<string, TSchema>> = {
  NewTenant,
  NewDocument,
  DocumentPatch,
  Filter,
  Order,
  Query,
  PagedQuery,
  FieldRule,
  IndexRule,
  TableSchema,
  Operation,
  Transaction,
  NewToken,
  Token,
  MadeToken,
  TokenList,
  Event,
  EventList,
  Tenant,
  TenantList,
  Document,
  DocumentPage,
  DocumentList,
  TransactionResult,
  TransactionResults,
  Health,
  FileEntry,
  EncryptionStatus,
  VerifiedFile,
  Verification,
  Failure,
}
