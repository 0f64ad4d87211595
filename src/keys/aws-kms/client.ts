/** The four calls to AWS KMS, each with its DEK as a handle; the only file that speaks to the SDK. */
import {
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
  ReEncryptCommand,
} from '@aws-sdk/client-kms'
import type { AwsKmsConfig } from '../../config/storage.js'
import { NimbusError } from '../../errors.js'
import type { Dek } from '../../native.js'
import { putDek, takeDek } from './answers.js'
import type { KmsOperation } from './failures.js'

export type EncryptionContext = Record<string, string>

/** A ciphertext, and the ARN of the key that it is under. */
export interface Sealed {
  readonly keyId: string
  readonly blob: Uint8Array
}

/** One attempt per call: retries are the caller's. Throws what the SDK throws, and `kms_unavailable` for answers that are none. */
export interface KmsClient {
  readonly region: string
  generateDataKey(keyId: string, context: EncryptionContext, signal: AbortSignal): Promise<Sealed & { dek: Dek }>
  encrypt(keyId: string, dek: Dek, context: EncryptionContext, signal: AbortSignal): Promise<Sealed>
  decrypt(
    keyId: string,
    blob: Uint8Array,
    context: EncryptionContext,
    signal: AbortSignal,
  ): Promise<{ keyId: string; dek: Dek }>
  reEncrypt(
    from: Sealed & { context: EncryptionContext },
    keyId: string,
    context: EncryptionContext,
    signal: AbortSignal,
  ): Promise<Sealed>
  close(): void
}

const CONNECT_MS = 3_000
const SOCKETS = 20

/** @throws `config_invalid` if neither the configuration nor the AWS chain names a region */
export async function openKmsClient({ region, endpointUrl }: AwsKmsConfig): Promise<KmsClient> {
  const client = new KMSClient({
    ...(region !== undefined && { region }),
    ...(endpointUrl !== undefined && { endpoint: endpointUrl }),
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      httpAgent: { maxSockets: SOCKETS, keepAlive: true },
      httpsAgent: { maxSockets: SOCKETS, keepAlive: true },
    },
  })
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
    command.middlewareStack.add(takingDek(taken, signal), BEFORE_PARSING)
    return closingOnFailure(taken, async () => {
      const answer = await this.#client.send(command, { abortSignal: signal })
      const dek = present('GenerateDataKey', taken.dek)
      return { dek, ...sealed('GenerateDataKey', answer.KeyId, answer.CiphertextBlob) }
    })
  }

  async decrypt(keyId: string, blob: Uint8Array, context: EncryptionContext, signal: AbortSignal) {
    const command = new DecryptCommand({ KeyId: keyId, CiphertextBlob: blob, EncryptionContext: context })
    const taken: Taken = {}
    command.middlewareStack.add(takingDek(taken, signal), BEFORE_PARSING)
    return closingOnFailure(taken, async () => {
      const answer = await this.#client.send(command, { abortSignal: signal })
      return { dek: present('Decrypt', taken.dek), keyId: present('Decrypt', answer.KeyId) }
    })
  }

  async encrypt(keyId: string, dek: Dek, context: EncryptionContext, signal: AbortSignal) {
    const command = new EncryptCommand({ KeyId: keyId, Plaintext: new Uint8Array(32), EncryptionContext: context })
    const sent: Sent = {}
    command.middlewareStack.add(puttingDek(dek, sent), BEFORE_SIGNING)
    try {
      const answer = await this.#client.send(command, { abortSignal: signal })
      return sealed('Encrypt', answer.KeyId, answer.CiphertextBlob)
    } finally {
      sent.body?.fill(0)
    }
  }

  async reEncrypt(
    from: Sealed & { context: EncryptionContext },
    keyId: string,
    context: EncryptionContext,
    signal: AbortSignal,
  ) {
    const command = new ReEncryptCommand({
      CiphertextBlob: from.blob,
      SourceKeyId: from.keyId,
      SourceEncryptionContext: from.context,
      DestinationKeyId: keyId,
      DestinationEncryptionContext: context,
    })
    const answer = await this.#client.send(command, { abortSignal: signal })
    if (answer.SourceKeyId !== from.keyId) throw unusable('ReEncrypt', 'names another source key')
    return sealed('ReEncrypt', answer.KeyId, answer.CiphertextBlob)
  }

  close(): void {
    this.#client.destroy()
  }
}

/** Innermost of the steps that see the answer: it is still the bytes of the network. */
const BEFORE_PARSING = { step: 'deserialize', priority: 'low', name: 'nimbusTakeDek' } as const
/** The request is text by now, its length is not counted yet. */
const BEFORE_SIGNING = { step: 'build', priority: 'high', name: 'nimbusPutDek' } as const

interface Taken {
  dek?: Dek | undefined
}

interface Sent {
  body?: Uint8Array
}

function takingDek(taken: Taken, signal: AbortSignal) {
  return <Args, Result extends { readonly response: unknown }>(next: (args: Args) => Promise<Result>) =>
    async (args: Args): Promise<Result> => {
      const result = await next(args)
      taken.dek = await takeDek(result.response, signal)
      return result
    }
}

function puttingDek(dek: Dek, sent: Sent) {
  return <Args extends { readonly request: unknown }, Result>(next: (args: Args) => Promise<Result>) =>
    async (args: Args): Promise<Result> => {
      sent.body = putDek(args.request, dek)
      return next(args)
    }
}

/** A DEK that nobody gets is closed. */
async function closingOnFailure<T>(taken: Taken, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    taken.dek?.close()
    throw error
  }
}

function sealed(operation: KmsOperation, keyId: string | undefined, blob: Uint8Array | undefined): Sealed {
  return { keyId: present(operation, keyId), blob: present(operation, blob) }
}

function present<T>(operation: KmsOperation, value: T | undefined): T {
  if (value === undefined) throw unusable(operation, 'lacks a member')
  return value
}

function unusable(operation: KmsOperation, why: string): NimbusError {
  return new NimbusError('kms_unavailable', `the answer of the KMS to ${operation} ${why}`)
}
