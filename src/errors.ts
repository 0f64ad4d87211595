/** The one table of everything that can go wrong: code, HTTP status, exit code, meaning and what to do about it. */

/** What a failure is, the same for HTTP, CLI and library; what happened this time is in the message. */
export type NimbusErrorCode =
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'invalid_request'
  | 'invalid_tenant_id'
  | 'invalid_cursor'
  | 'body_too_large'
  | 'tenant_exists'
  | 'tenant_not_found'
  | 'token_not_found'
  | 'document_not_found'
  | 'version_conflict'
  | 'unique_violation'
  | 'schema_violation'
  | 'overloaded'
  | 'shutting_down'
  | 'usage'
  | 'config_invalid'
  | 'port_in_use'
  | 'data_dir_unwritable'
  | 'encryption_not_configured'
  | 'encrypted_but_disabled'
  | 'target_exists'
  | 'unsupported_for_provider'
  | 'key_missing'
  | 'key_malformed'
  | 'key_wrong'
  | 'kms_key_not_found'
  | 'kms_denied'
  | 'kms_unavailable'
  | 'kms_throttled'
  | 'manifest_missing'
  | 'manifest_altered'
  | 'manifest_mismatch'
  | 'data_missing'
  | 'file_corrupt'
  | 'file_busy'
  | 'disk_full'
  | 'io_error'
  | 'native_unavailable'
  | 'internal'

/** 0 is success; 130 and 143 are reserved for interruptions. */
export type ExitCode = 1 | 2 | 3 | 4 | 5 | 6

export interface ErrorCodeInfo {
  readonly httpStatus: number
  readonly exitCode: ExitCode
  /** Whether the same request may succeed later without anybody changing it. */
  readonly retryable: boolean
  readonly meaning: string
  /** One thing to do, said when whoever throws knows nothing better. */
  readonly remedy: string
}

export const ERROR_CODES = {
  unauthorized: {
    httpStatus: 401,
    exitCode: 4,
    retryable: false,
    meaning: 'The request carries no token, or not a valid one.',
    remedy: 'Send the header `Authorization: Bearer <token>` with the token from the admin token file.',
  },
  forbidden: {
    httpStatus: 403,
    exitCode: 4,
    retryable: false,
    meaning: 'The token is valid but does not permit this.',
    remedy: 'Use a token whose scope covers the request.',
  },
  not_found: {
    httpStatus: 404,
    exitCode: 1,
    retryable: false,
    meaning: 'The server has no such route.',
    remedy: 'Compare method and path with GET /openapi.json.',
  },
  invalid_request: {
    httpStatus: 400,
    exitCode: 1,
    retryable: false,
    meaning: 'The request is malformed: not JSON, an unknown field, a value of the wrong type or out of range.',
    remedy: 'Compare the request with its schema in GET /openapi.json.',
  },
  invalid_tenant_id: {
    httpStatus: 400,
    exitCode: 2,
    retryable: false,
    meaning: 'A tenant id is 1 to 48 characters of a-z, 0-9, _ and -, and starts with a letter or a digit.',
    remedy: 'Choose an id that matches [a-z0-9][a-z0-9_-]{0,47}.',
  },
  invalid_cursor: {
    httpStatus: 400,
    exitCode: 1,
    retryable: false,
    meaning: 'The cursor was not made by this server for this query.',
    remedy: 'Start again without `after`, and pass on next_cursor unchanged with the same query.',
  },
  body_too_large: {
    httpStatus: 413,
    exitCode: 1,
    retryable: false,
    meaning: 'The body of the request is larger than 1 MiB.',
    remedy: 'Split the request into smaller ones.',
  },
  tenant_exists: {
    httpStatus: 409,
    exitCode: 1,
    retryable: false,
    meaning: 'A tenant of this id exists already.',
    remedy: 'Use the existing tenant or choose another id.',
  },
  tenant_not_found: {
    httpStatus: 404,
    exitCode: 1,
    retryable: false,
    meaning: 'There is no tenant of this id.',
    remedy: 'Create it with POST /api/tenants.',
  },
  token_not_found: {
    httpStatus: 404,
    exitCode: 1,
    retryable: false,
    meaning: 'There is no API token of this id.',
    remedy: 'List the tokens: `nimbus token list`.',
  },
  document_not_found: {
    httpStatus: 404,
    exitCode: 1,
    retryable: false,
    meaning: 'The table holds no document of this id, or there is no such schema.',
    remedy: 'Check the table and the id.',
  },
  version_conflict: {
    httpStatus: 409,
    exitCode: 1,
    retryable: false,
    meaning: 'The document is not at the version that `if_version` asks for: somebody else changed it.',
    remedy: 'Read the document again and repeat the change on its current version.',
  },
  unique_violation: {
    httpStatus: 409,
    exitCode: 1,
    retryable: false,
    meaning: 'Another document holds the same value in a unique index.',
    remedy: 'Choose another value or change the document that holds it.',
  },
  schema_violation: {
    httpStatus: 422,
    exitCode: 1,
    retryable: false,
    meaning: 'The fields do not satisfy the schema of the table.',
    remedy: 'Compare the fields with GET /api/tenants/:tenant/schema/:table.',
  },
  overloaded: {
    httpStatus: 503,
    exitCode: 1,
    retryable: true,
    meaning: 'More work is waiting than the server takes on at a time; nothing was done.',
    remedy: 'Wait as long as the Retry-After header says, then repeat the request.',
  },
  shutting_down: {
    httpStatus: 503,
    exitCode: 1,
    retryable: true,
    meaning: 'The server is stopping and takes no new work.',
    remedy: 'Repeat the request when the server is up again.',
  },
  usage: {
    httpStatus: 400,
    exitCode: 2,
    retryable: false,
    meaning: 'The command line is not one that nimbus understands.',
    remedy: 'Run `nimbus --help`.',
  },
  config_invalid: {
    httpStatus: 500,
    exitCode: 2,
    retryable: false,
    meaning: 'A setting is unknown, malformed, or does not fit the others.',
    remedy: 'Compare the setting with docs/configuration.md or `nimbus start --help`.',
  },
  port_in_use: {
    httpStatus: 500,
    exitCode: 2,
    retryable: false,
    meaning: 'The server cannot listen on the configured address.',
    remedy: 'Stop the process that listens there, or choose another address with --host and --port.',
  },
  data_dir_unwritable: {
    httpStatus: 500,
    exitCode: 2,
    retryable: false,
    meaning: 'nimbus cannot create or write its files in a configured directory.',
    remedy: 'Give the user that runs nimbus read and write permission, or configure another directory.',
  },
  encryption_not_configured: {
    httpStatus: 409,
    exitCode: 2,
    retryable: false,
    meaning: 'The command works on encrypted files, and encryption is not configured.',
    remedy: 'Set NIMBUS_ENCRYPTION_KEY_PROVIDER and its settings, or name a config file in NIMBUS_CONFIG.',
  },
  encrypted_but_disabled: {
    httpStatus: 500,
    exitCode: 2,
    retryable: false,
    meaning: 'The file is encrypted, and encryption is not configured.',
    remedy: 'Configure the key provider that the file was encrypted with (--encryption-key-provider).',
  },
  target_exists: {
    httpStatus: 409,
    exitCode: 2,
    retryable: false,
    meaning: 'The file that was to be written exists already.',
    remedy: 'Name another target, or move the existing file away.',
  },
  unsupported_for_provider: {
    httpStatus: 400,
    exitCode: 2,
    retryable: false,
    meaning: 'The selected provider cannot do this.',
    remedy: 'Compare the command with the documentation of the provider.',
  },
  key_missing: {
    httpStatus: 500,
    exitCode: 3,
    retryable: false,
    meaning: 'The configured key does not exist or cannot be read.',
    remedy: 'Check the path and the permissions of the key file.',
  },
  key_malformed: {
    httpStatus: 500,
    exitCode: 3,
    retryable: false,
    meaning: 'The configured key is not exactly 32 bytes of raw key material.',
    remedy: 'Configure the original key file: 32 raw bytes, not hex, not base64.',
  },
  key_wrong: {
    httpStatus: 500,
    exitCode: 3,
    retryable: false,
    meaning: 'The configured key is not the one that the file was encrypted with.',
    remedy: 'Configure the key that the manifest names.',
  },
  kms_key_not_found: {
    httpStatus: 502,
    exitCode: 4,
    retryable: false,
    meaning: 'The KMS key id or alias does not resolve in the selected region.',
    remedy: 'Check --encryption-aws-kms-key-id and --encryption-aws-region.',
  },
  kms_denied: {
    httpStatus: 502,
    exitCode: 4,
    retryable: false,
    meaning: 'The caller lacks the KMS operation on the key.',
    remedy: 'Grant the identity of the server GenerateDataKey, Decrypt and ReEncrypt on the key.',
  },
  kms_unavailable: {
    httpStatus: 503,
    exitCode: 4,
    retryable: true,
    meaning: 'The KMS cannot be reached.',
    remedy: 'Check region, endpoint, routing and the AWS credential chain.',
  },
  kms_throttled: {
    httpStatus: 503,
    exitCode: 4,
    retryable: true,
    meaning: 'The KMS refused the call because there were too many.',
    remedy: 'Wait, or raise the request quota of the KMS.',
  },
  manifest_missing: {
    httpStatus: 500,
    exitCode: 5,
    retryable: false,
    meaning: 'A database file has no sidecar manifest beside it while encryption is on.',
    remedy: 'Restore the manifest from the backup.',
  },
  manifest_altered: {
    httpStatus: 500,
    exitCode: 5,
    retryable: false,
    meaning: 'The sidecar manifest is malformed or was changed after it was written.',
    remedy: 'Restore the file and its manifest together from the same backup.',
  },
  manifest_mismatch: {
    httpStatus: 500,
    exitCode: 5,
    retryable: false,
    meaning: 'The sidecar manifest belongs to another file.',
    remedy: 'Put the manifest of this very file back beside it.',
  },
  data_missing: {
    httpStatus: 500,
    exitCode: 5,
    retryable: false,
    meaning: 'A database file does not exist: its sidecar manifest does, or nothing at all is where one should be.',
    remedy: 'Restore the database file from the same backup as its manifest.',
  },
  file_corrupt: {
    httpStatus: 500,
    exitCode: 5,
    retryable: false,
    meaning: 'A database file was altered, truncated or damaged; what does not authenticate is never returned.',
    remedy: 'Restore the file and its manifest from the backup.',
  },
  file_busy: {
    httpStatus: 503,
    exitCode: 6,
    retryable: true,
    meaning: 'Another process owns the file or the directory.',
    remedy: 'Stop the process that the message names, or wait for it to end.',
  },
  disk_full: {
    httpStatus: 507,
    exitCode: 1,
    retryable: true,
    meaning: 'The disk or the quota is full; nothing of the request was kept.',
    remedy: 'Free space on the disk, then repeat.',
  },
  io_error: {
    httpStatus: 500,
    exitCode: 1,
    retryable: false,
    meaning: 'The operating system reported an error on a file.',
    remedy: 'Check the disk and the kernel log.',
  },
  native_unavailable: {
    httpStatus: 500,
    exitCode: 1,
    retryable: false,
    meaning: 'The native addon for this platform cannot be loaded.',
    remedy: 'Install the package on a supported platform, or build it with `npm run build`.',
  },
  internal: {
    httpStatus: 500,
    exitCode: 1,
    retryable: false,
    meaning: 'A defect of nimbus.',
    remedy: 'Report it with the request id and the line of the log that carries it.',
  },
} as const satisfies Record<NimbusErrorCode, ErrorCodeInfo>

export function isErrorCode(text: string): text is NimbusErrorCode {
  return Object.hasOwn(ERROR_CODES, text)
}

export type ErrorDetail = Record<string, string | number | boolean | null>

export interface NimbusErrorOptions {
  /** One thing to do; the code's own remedy when left out. */
  remediation?: string | undefined
  /** The file concerned, or the field of a document. */
  path?: string | undefined
  detail?: ErrorDetail | undefined
  cause?: unknown
}

/** Every failure that nimbus foresees. `message` says what failed and on which file or key. */
export class NimbusError extends Error {
  override readonly name = 'NimbusError'
  readonly code: NimbusErrorCode
  readonly remediation: string
  readonly path: string | undefined
  readonly detail: ErrorDetail
  readonly retryable: boolean

  constructor(code: NimbusErrorCode, message: string, options: NimbusErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.remediation = options.remediation ?? ERROR_CODES[code].remedy
    this.path = options.path
    this.detail = options.detail ?? {}
    this.retryable = ERROR_CODES[code].retryable
  }
}

/** The error object of HTTP answers, and of `--format json` on stderr. */
export interface ErrorBody {
  error: {
    code: NimbusErrorCode
    message: string
    request_id: string | null
    retryable: boolean
    remediation: string
    /** The offending field; only for `schema_violation` and `invalid_request`. */
    path?: string
  }
}

export function toErrorBody(error: NimbusError, requestId: string | null = null): ErrorBody {
  const { code, message, retryable, remediation, path } = error
  const body: ErrorBody = { error: { code, message, request_id: requestId, retryable, remediation } }
  const namesField = code === 'schema_violation' || code === 'invalid_request'
  if (namesField && path !== undefined) body.error.path = path
  return body
}

/** What anything thrown becomes at an outer edge: a foreseen failure as it is, the rest `internal` without its text. */
export function toNimbusError(thrown: unknown): NimbusError {
  if (thrown instanceof NimbusError) return thrown
  return new NimbusError('internal', 'an unexpected error occurred', { cause: thrown })
}

const SYSTEM_CODES: Readonly<Record<string, NimbusErrorCode>> = {
  ENOSPC: 'disk_full',
  EDQUOT: 'disk_full',
  EACCES: 'data_dir_unwritable',
  EPERM: 'data_dir_unwritable',
  EROFS: 'data_dir_unwritable',
}

/** The `code` that Node gives errors of the operating system (`ENOENT`), if it is one. */
export function systemErrorCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}

/** An error of the operating system on a file that nimbus wants to create or write; `doing` is "create the directory". */
export function fromSystemError(thrown: unknown, doing: string, path: string): NimbusError {
  if (thrown instanceof NimbusError) return thrown
  const errno = systemErrorCode(thrown)
  const code = (errno === undefined ? undefined : SYSTEM_CODES[errno]) ?? 'io_error'
  const reason = errno ?? 'unknown error'
  return new NimbusError(code, `cannot ${doing} ${path}: ${reason}`, { path, cause: thrown })
}
