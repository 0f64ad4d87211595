/** What a call to a KMS can fail with: whether to try again, and how to say it so that an operator can mend it. */
import { NimbusError, systemErrorCode, type NimbusErrorCode } from '../../errors.js'
import { quote } from '../quote.js'

export type KmsOperation = 'GenerateDataKey' | 'Decrypt' | 'ReEncrypt'

/** Where a call went: for messages. */
export interface KmsCall {
  readonly operation: KmsOperation
  readonly keyId: string
  readonly region: string
  readonly endpointUrl: string | undefined
}

export type KmsFailure =
  | 'throttled'
  | 'unavailable'
  /** No answer in the time of one attempt: whoever waits has waited long enough. */
  | 'timed_out'
  | 'credentials'
  | 'denied'
  | 'not_found'
  | 'disabled'
  /** The ciphertext belongs to another key than the call names. */
  | 'other_key'
  /** The ciphertext or its context is not what was encrypted. */
  | 'altered'
  | 'unknown'

/** The names of the KMS API reference, "Common Errors" and the errors of each operation. */
const BY_NAME: Readonly<Record<string, KmsFailure>> = {
  ThrottlingException: 'throttled',
  Throttling: 'throttled',
  TooManyRequestsException: 'throttled',
  RequestLimitExceeded: 'throttled',
  NotFoundException: 'not_found',
  AccessDeniedException: 'denied',
  NotAuthorized: 'denied',
  OptInRequired: 'denied',
  DisabledException: 'disabled',
  KMSInvalidStateException: 'disabled',
  InvalidKeyUsageException: 'disabled',
  IncorrectKeyException: 'other_key',
  InvalidCiphertextException: 'altered',
  DependencyTimeoutException: 'unavailable',
  KeyUnavailableException: 'unavailable',
  KMSInternalException: 'unavailable',
  InternalFailure: 'unavailable',
  ServiceUnavailable: 'unavailable',
  RequestTimeout: 'unavailable',
  RequestTimeoutException: 'unavailable',
  /** What the SDK also calls a connection that was reset. */
  TimeoutError: 'unavailable',
  /** Of our own signal. */
  AbortError: 'timed_out',
  CredentialsProviderError: 'credentials',
  TokenProviderError: 'credentials',
  UnrecognizedClientException: 'credentials',
  InvalidClientTokenId: 'credentials',
  InvalidSignatureException: 'credentials',
  SignatureDoesNotMatch: 'credentials',
  IncompleteSignature: 'credentials',
  ExpiredTokenException: 'credentials',
  ExpiredToken: 'credentials',
  MissingAuthenticationToken: 'credentials',
  MissingAuthenticationTokenException: 'credentials',
}

export function failureOf(thrown: unknown): KmsFailure {
  if (thrown instanceof NimbusError) return thrown.code === 'kms_unavailable' ? 'unavailable' : 'unknown'
  if (!(thrown instanceof Error)) return 'unknown'
  const known = BY_NAME[thrown.name]
  if (known !== undefined) return known
  const status = httpStatusOf(thrown)
  if (status === 429) return 'throttled'
  if (status !== undefined && status >= 500) return 'unavailable'
  // An answer that said that all is well, and then was cut off or could not be understood.
  if (status !== undefined && status < 300) return 'unavailable'
  // A network error has a code of the system: ECONNREFUSED, ENOTFOUND, CERT_HAS_EXPIRED.
  return status === undefined && systemErrorCode(thrown) !== undefined ? 'unavailable' : 'unknown'
}

/** `failure` is neither `other_key` nor `altered`: those are answers, not errors. */
export function kmsError(failure: KmsFailure, call: KmsCall, thrown: unknown): NimbusError {
  const { code, what, remedy } = DESCRIPTIONS[failure](call)
  const { operation, keyId, region, endpointUrl } = call
  const where = `KMS ${operation} with key ${keyId} in region ${region}${endpointUrl === undefined ? '' : ` at ${endpointUrl}`}`
  const reason = thrown instanceof Error ? ` (${reasonOf(thrown)})` : ''
  return new NimbusError(code, `${where}: ${what}${reason}`, {
    remediation: remedy,
    detail: { operation, key_id: keyId, region },
    cause: thrown,
  })
}

interface Description {
  readonly code: NimbusErrorCode
  readonly what: string
  readonly remedy: string
}

/** What IAM calls the permission for an operation. */
const ACTIONS: Readonly<Record<KmsOperation, string>> = {
  GenerateDataKey: 'kms:GenerateDataKey',
  Decrypt: 'kms:Decrypt',
  ReEncrypt: 'kms:ReEncryptFrom on the old key and kms:ReEncryptTo on the new one',
}

const NETWORK = 'Check the region, the endpoint override, VPC routing, and the AWS credential chain.'

const DESCRIPTIONS: Readonly<Record<KmsFailure, (call: KmsCall) => Description>> = {
  throttled: () => ({
    code: 'kms_throttled',
    what: 'too many requests, and no end of it in time',
    remedy: 'Wait, or raise the request quota of the KMS in this region.',
  }),
  unavailable: () => ({ code: 'kms_unavailable', what: 'the KMS did not answer', remedy: NETWORK }),
  timed_out: () => ({ code: 'kms_unavailable', what: 'the KMS did not answer in time', remedy: NETWORK }),
  credentials: () => ({
    code: 'kms_denied',
    what: 'no valid AWS credentials',
    remedy: 'Give the server credentials through the AWS chain: variables, a profile, or the role of the machine.',
  }),
  denied: ({ operation }) => ({
    code: 'kms_denied',
    what: 'permission denied',
    remedy: `Grant the identity of the server ${ACTIONS[operation]}, in IAM or in the policy of the key.`,
  }),
  not_found: ({ keyId, region }) => ({
    code: 'kms_key_not_found',
    what: 'there is no such key',
    remedy: `Check that ${keyId} resolves in the region ${region}.`,
  }),
  disabled: ({ keyId }) => ({
    code: 'kms_denied',
    what: 'the key may not be used in its state',
    remedy: `Enable the key ${keyId}, or cancel its deletion; it must be a symmetric key for encryption.`,
  }),
  other_key: () => ({
    code: 'key_wrong',
    what: 'another key wrapped it',
    remedy: 'Configure the key that wrapped it.',
  }),
  altered: () => ({
    code: 'manifest_altered',
    what: 'what was wrapped was changed since',
    remedy: 'Restore the file and its manifest together from the same backup.',
  }),
  unknown: () => ({ code: 'kms_unavailable', what: 'the KMS refused the call', remedy: NETWORK }),
}

function reasonOf(thrown: Error): string {
  const name = systemErrorCode(thrown) ?? thrown.name
  return thrown.message === '' ? name : `${name}: ${quote(thrown.message, 300)}`
}

function httpStatusOf(thrown: Error): number | undefined {
  if (!('$metadata' in thrown) || typeof thrown.$metadata !== 'object' || thrown.$metadata === null) return undefined
  const metadata = thrown.$metadata
  return 'httpStatusCode' in metadata && typeof metadata.httpStatusCode === 'number'
    ? metadata.httpStatusCode
    : undefined
}
