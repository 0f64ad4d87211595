/** The three calls to AWS KMS, each with its data key as a handle; the only file that speaks to the SDK. */
import { DecryptCommand, GenerateDataKeyCommand, KMSClient, ReEncryptCommand } from '@aws-sdk/client-kms'
import type { AwsKmsConfig } from '../../config/storage.js'
import { NimbusError } from '../../errors.js'
import type { WrappingKey } from '../../native.js'
import type { SealedDataKey } from '../data-key-service.js'
import type { EncryptionContext } from '../encryption-context.js'
import { takeKey } from './answers.js'
import type { KmsOperation } from './failures.js'
import { wipingAgents } from './wiping-agents.js'

/** One attempt per call: retries are the caller's. Throws what the SDK throws, and `kms_unavailable` for answers that are none. */
export interface KmsClient {
  readonly region: string
  generateDataKey(
    keyId: string,
    context: EncryptionContext,
    signal: AbortSignal,
  ): Promise<SealedDataKey & { key: WrappingKey }>
  decrypt(
    keyId: string,
    blob: Uint8Array,
    context: EncryptionContext,
    signal: AbortSignal,
  ): Promise<{ keyId: string; key: WrappingKey }>
  reEncrypt(
    from: { readonly sealed: SealedDataKey; readonly context: EncryptionContext },
    keyId: string,
    context: EncryptionContext,
    signal: AbortSignal,
  ): Promise<SealedDataKey>
  close(): void
}

const CONNECT_MS = 3_000

/** @throws `config_invalid` if neither the configuration nor the AWS chain names a region */
export async function openKmsClient({ region, endpointUrl }: AwsKmsConfig): Promise<KmsClient> {
  const client = withoutVersionWarning(
    () =>
      new KMSClient({
        ...(region !== undefined && { region }),
        ...(endpointUrl !== undefined && { endpoint: endpointUrl }),
        maxAttempts: 1,
        requestHandler: { connectionTimeout: CONNECT_MS, ...wipingAgents() },
      }),
  )
  try {
    return new SdkClient(client, await client.config.region())
  } catch (cause) {
    client.destroy()
    throw new NimbusError('config_invalid', 'no AWS region is configured for the KMS', {
      remediation: 'Give --encryption-aws-region, or AWS_REGION, or a region in the AWS profile.',
      cause,
    })
  }
}

/** What the SDK will need of Node one day is for whoever updates it (docs/dependencies.md), not for the output of a command. */
function withoutVersionWarning<T>(construct: () => T): T {
  const { env } = process
  const before = env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED']
  env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'
  try {
    return construct()
  } finally {
    if (before === undefined) delete env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED']
    else env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = before
  }
}

class SdkClient implements KmsClient {
  readonly region: string
  readonly #client: KMSClient

  constructor(client: KMSClient, region: string) {
    this.#client = client
    this.region = region
  }

  async generateDataKey(keyId: string, context: EncryptionContext, signal: AbortSignal) {
    const command = new GenerateDataKeyCommand({ KeyId: keyId, KeySpec: 'AES_256', EncryptionContext: context })
    const taken: Taken = {}
    command.middlewareStack.add(takingKey(taken, signal), BEFORE_PARSING)
    return closingOnFailure(taken, async () => {
      const answer = await this.#client.send(command, { abortSignal: signal })
      const key = present('GenerateDataKey', taken.key)
      return { key, ...sealedKey('GenerateDataKey', answer.KeyId, answer.CiphertextBlob) }
    })
  }

  async decrypt(keyId: string, blob: Uint8Array, context: EncryptionContext, signal: AbortSignal) {
    const command = new DecryptCommand({ KeyId: keyId, CiphertextBlob: blob, EncryptionContext: context })
    const taken: Taken = {}
    command.middlewareStack.add(takingKey(taken, signal), BEFORE_PARSING)
    return closingOnFailure(taken, async () => {
      const answer = await this.#client.send(command, { abortSignal: signal })
      return { key: present('Decrypt', taken.key), keyId: present('Decrypt', answer.KeyId) }
    })
  }

  async reEncrypt(
    { sealed, context: sourceContext }: { readonly sealed: SealedDataKey; readonly context: EncryptionContext },
    keyId: string,
    context: EncryptionContext,
    signal: AbortSignal,
  ) {
    const command = new ReEncryptCommand({
      CiphertextBlob: sealed.blob,
      SourceKeyId: sealed.keyId,
      SourceEncryptionContext: sourceContext,
      DestinationKeyId: keyId,
      DestinationEncryptionContext: context,
    })
    const answer = await this.#client.send(command, { abortSignal: signal })
    if (answer.SourceKeyId !== sealed.keyId) throw unusable('ReEncrypt', 'names another source key')
    return sealedKey('ReEncrypt', answer.KeyId, answer.CiphertextBlob)
  }

  close(): void {
    this.#client.destroy()
  }
}

/** Innermost of the steps that see the answer: it is still the bytes of the network. */
const BEFORE_PARSING = { step: 'deserialize', priority: 'low', name: 'nimbusTakeKey' } as const

interface Taken {
  key?: WrappingKey | undefined
}

function takingKey(taken: Taken, signal: AbortSignal) {
  return <Args, Result extends { readonly response: unknown }>(next: (args: Args) => Promise<Result>) =>
    async (args: Args): Promise<Result> => {
      const result = await next(args)
      taken.key = await takeKey(result.response, signal)
      return result
    }
}

/** A key that nobody gets is closed. */
async function closingOnFailure<T>(taken: Taken, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    taken.key?.close()
    throw error
  }
}

function sealedKey(operation: KmsOperation, keyId: string | undefined, blob: Uint8Array | undefined): SealedDataKey {
  return { keyId: present(operation, keyId), blob: present(operation, blob) }
}

function present<T>(operation: KmsOperation, value: T | undefined): T {
  if (value === undefined) throw unusable(operation, 'lacks a member')
  return value
}

function unusable(operation: KmsOperation, why: string): NimbusError {
  return new NimbusError('kms_unavailable', `the answer of the KMS to ${operation} ${why}`)
}
