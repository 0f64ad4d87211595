/** The provider `aws-kms`: data keys that AWS KMS makes and opens, under a key that never leaves it. */
import type { AwsKmsConfig } from '../../config/storage.js'
import { NimbusError } from '../../errors.js'
import type { WrappingKey } from '../../native.js'
import { dataKeyProviderOf } from '../data-key-provider.js'
import type { DataKeyService, OpenedDataKey, ResealedDataKey, SealedDataKey } from '../data-key-service.js'
import type { EncryptionContext } from '../encryption-context.js'
import type { KeyProvider, ProviderDescriptor } from '../provider.js'
import { quote } from '../quote.js'
import { type KmsClient, openKmsClient } from './client.js'
import { type KmsCall, type KmsFailure, type KmsOperation, failureOf, kmsError } from './failures.js'
import { canBe, isSameKey } from './key-names.js'
import { Pace, TIMES, type Times, type Verdict } from './pace.js'

const KIND = 'aws_kms'
const HEALTH_CONTEXT = { 'nimbus:health': 'check' }

/**
 * Makes no call to the KMS yet; `health` does.
 *
 * @throws `config_invalid` without a region. Later: `kms_key_not_found`, `kms_denied`, `kms_throttled`, `kms_unavailable`.
 */
export async function openAwsKms(config: AwsKmsConfig, times: Times = TIMES): Promise<KeyProvider> {
  return dataKeyProviderOf(new AwsKms(config, await openKmsClient(config), times))
}

class AwsKms implements DataKeyService<WrappingKey> {
  readonly kind = KIND
  readonly hint: string
  readonly #config: AwsKmsConfig
  readonly #client: KmsClient
  readonly #pace: Pace
  /** The ARN that the configured id or alias stands for, since the first answer: it may not change under an open provider. */
  #arn: string | undefined

  constructor(config: AwsKmsConfig, client: KmsClient, times: Times) {
    this.#config = config
    this.#client = client
    this.#pace = new Pace(times)
    this.hint = `${config.keyId} in ${client.region}`
  }

  describe(): ProviderDescriptor {
    return { provider: KIND, key_id: this.#config.keyId, region: this.#client.region }
  }

  /** An alias may stand for any key until the KMS has answered. */
  mayOpen(arn: string): boolean {
    return this.#arn === undefined ? canBe(this.#config.keyId, arn) : isSameKey(this.#arn, arn)
  }

  /** Has a data key made for nothing, and drops it: whoever may do that can be served. */
  async health(): Promise<void> {
    const { key } = await this.generate(HEALTH_CONTEXT)
    key.close()
  }

  async generate(context: EncryptionContext): Promise<SealedDataKey & { key: WrappingKey }> {
    const made = await this.#call('GenerateDataKey', (keyId, signal) =>
      this.#client.generateDataKey(keyId, context, signal),
    )
    try {
      this.#requireOurs('GenerateDataKey', made.keyId)
      return made
    } catch (error) {
      made.key.close()
      throw error
    }
  }

  async open({ keyId, blob }: SealedDataKey, context: EncryptionContext): Promise<OpenedDataKey<WrappingKey>> {
    const { keyId: configured } = this.#config
    if (!this.mayOpen(keyId)) return { outcome: 'other_key', ours: this.#arn ?? configured }
    try {
      const { key, keyId: used } = await this.#call('Decrypt', (name, signal) =>
        this.#client.decrypt(name, blob, context, signal),
      )
      // A blob that somebody's other key made is none of ours, whatever the manifest says.
      if (isSameKey(used, keyId) && this.mayOpen(used)) {
        this.#arn ??= used
        return { outcome: 'opened', key }
      }
      key.close()
      return { outcome: 'other_key', ours: used }
    } catch (thrown) {
      const failure = answeredFailure(thrown)
      if (failure === 'altered') return { outcome: 'altered' }
      if (failure === 'other_key') return { outcome: 'other_key', ours: this.#arn ?? configured }
      throw thrown
    }
  }

  async reseal(
    from: { service: DataKeyService<WrappingKey>; sealed: SealedDataKey; context: EncryptionContext },
    context: EncryptionContext,
  ): Promise<ResealedDataKey> {
    const { service, sealed } = from
    // A call goes to one region; a key of another cannot be named in it.
    if (!(service instanceof AwsKms) || !this.#isBeside(service)) return { outcome: 'impossible' }
    const ours = service.#arn ?? service.#config.keyId
    if (!service.mayOpen(sealed.keyId)) return { outcome: 'other_key', ours }
    try {
      const resealed = await this.#call('ReEncrypt', (keyId, signal) =>
        this.#client.reEncrypt(from, keyId, context, signal),
      )
      this.#requireOurs('ReEncrypt', resealed.keyId)
      return { outcome: 'resealed', sealed: resealed }
    } catch (thrown) {
      const failure = answeredFailure(thrown)
      if (failure === 'altered') return { outcome: 'altered' }
      if (failure === 'other_key') return { outcome: 'other_key', ours }
      // Whoever may not re-encrypt may still open with the one key and have a data key made by the other.
      if (failure === 'denied' || failure === 'not_found') return { outcome: 'impossible' }
      throw thrown
    }
  }

  close(): void {
    this.#client.close()
  }

  /** Failures come out as errors with a code, what the KMS said in their cause. */
  async #call<T>(operation: KmsOperation, attempt: (keyId: string, signal: AbortSignal) => Promise<T>): Promise<T> {
    const { keyId, endpointUrl } = this.#config
    const call: KmsCall = { operation, keyId, region: this.#client.region, endpointUrl }
    try {
      return await this.#pace.run((signal) => attempt(keyId, signal), verdictOf)
    } catch (thrown) {
      throw kmsError(failureOf(thrown), call, thrown)
    }
  }

  #isBeside(other: AwsKms): boolean {
    return this.#client.region === other.#client.region && this.#config.endpointUrl === other.#config.endpointUrl
  }

  #requireOurs(operation: KmsOperation, arn: string): void {
    if (this.mayOpen(arn) && STORABLE.test(arn)) {
      this.#arn ??= arn
      return
    }
    const expected = this.#arn ?? this.#config.keyId
    throw new NimbusError('key_wrong', `KMS ${operation} used another key than ${expected}: ${quote(arn, 2048)}`, {
      remediation: 'If the alias was given to another key, start again; files of the old key need it until rotate-kek.',
      detail: { operation, key_id: expected },
    })
  }
}

/** What a manifest can hold. */
const STORABLE = /^[\x21-\x7e]{1,2048}$/

function verdictOf(thrown: unknown): Verdict {
  const failure = failureOf(thrown)
  return failure === 'throttled' ? 'throttled' : failure === 'unavailable' ? 'again' : 'final'
}

/** What the KMS said, of an error that `#call` made. */
function answeredFailure(thrown: unknown): KmsFailure | undefined {
  return thrown instanceof NimbusError && thrown.cause !== undefined ? failureOf(thrown.cause) : undefined
}
