/** The provider `aws-kms`: DEKs that AWS KMS makes and unwraps, under a key that never leaves it. */
import type { AwsKmsConfig } from '../../config/storage.js'
import { NimbusError } from '../../errors.js'
import type { Dek } from '../../native.js'
import { type DekBinding, hex } from '../binding.js'
import {
  type KeyProvider,
  MAX_HINT_LENGTH,
  type NewDek,
  type ProviderDescriptor,
  type RewrapResult,
  type UnwrapResult,
  type WrappedDek,
  type Wrapping,
} from '../provider.js'
import { printable } from '../quote.js'
import { type KmsClient, type Sealed, openKmsClient } from './client.js'
import { canBe, encryptionContext, isSameKey } from './context.js'
import { type KmsCall, type KmsFailure, type KmsOperation, failureOf, kmsError } from './failures.js'
import { Pace, TIMES, type Times, type Verdict } from './pace.js'

const KIND = 'aws_kms'

/**
 * Makes no call to the KMS yet; `health` does.
 *
 * @throws `config_invalid` without a region. Later: `kms_key_not_found`, `kms_denied`, `kms_throttled`, `kms_unavailable`.
 */
export async function openAwsKms(config: AwsKmsConfig, times: Times = TIMES): Promise<KeyProvider> {
  return new AwsKms(config, await openKmsClient(config), times)
}

class AwsKms implements KeyProvider {
  readonly kind = KIND
  readonly warnings = []
  readonly isRemote = true
  readonly #config: AwsKmsConfig
  readonly #client: KmsClient
  readonly #pace: Pace
  readonly #unwrapping = new Map<string, SharedDek>()
  /** The ARN that the configured id or alias stands for, since the first answer: it may not change under an open provider. */
  #arn: string | undefined

  constructor(config: AwsKmsConfig, client: KmsClient, times: Times) {
    this.#config = config
    this.#client = client
    this.#pace = new Pace(times)
  }

  describe(): ProviderDescriptor {
    return { provider: KIND, key_id: this.#config.keyId, region: this.#client.region }
  }

  /** Has a DEK made for nothing, and drops it: whoever may do that can be served. */
  async health(): Promise<void> {
    const { dek } = await this.#generate({ 'nimbus:health': 'check' })
    dek.close()
  }

  async newDek(binding: DekBinding): Promise<NewDek> {
    const { dek, ...made } = await this.#generate(encryptionContext(binding))
    return { dek, ...this.#wrapped(made) }
  }

  async wrap(binding: DekBinding, dek: Dek): Promise<WrappedDek> {
    // Before any network: a closed DEK is a mistake of the caller.
    dek.commitment(binding.salt)
    const context = encryptionContext(binding)
    const sealed = await this.#call('Encrypt', (keyId, signal) => this.#client.encrypt(keyId, dek, context, signal))
    this.#requireOurs('Encrypt', sealed.keyId)
    return this.#wrapped(sealed)
  }

  /** Calls for the same DEK that overlap are one call. */
  async unwrap(binding: DekBinding, { keyId, wrapped }: WrappedDek): Promise<UnwrapResult> {
    if (this.#arn !== undefined && !isSameKey(this.#arn, keyId)) return { outcome: 'other_key', ours: this.#arn }
    if (wrapped.length === 0) return { outcome: 'altered' }
    const context = encryptionContext(binding)
    const name = `${JSON.stringify(context)} ${keyId} ${hex(wrapped)}`
    let shared = this.#unwrapping.get(name)
    if (shared === undefined) {
      shared = new SharedDek(this.#decrypt(keyId, wrapped, context), () => this.#unwrapping.delete(name))
      this.#unwrapping.set(name, shared)
    }
    return shared.take()
  }

  async rewrap(from: Wrapping, binding: DekBinding): Promise<RewrapResult> {
    const { provider, wrapped } = from
    // A call goes to one region; a key of another cannot be named in it.
    if (!(provider instanceof AwsKms) || provider.#client.region !== this.#client.region)
      return { outcome: 'impossible' }
    if (provider.#arn !== undefined && !isSameKey(provider.#arn, wrapped.keyId)) {
      return { outcome: 'other_key', ours: provider.#arn }
    }
    const source = { keyId: wrapped.keyId, blob: wrapped.wrapped, context: encryptionContext(from.binding) }
    const context = encryptionContext(binding)
    try {
      const sealed = await this.#call('ReEncrypt', (keyId, signal) =>
        this.#client.reEncrypt(source, keyId, context, signal),
      )
      this.#requireOurs('ReEncrypt', sealed.keyId)
      return { outcome: 'rewrapped', wrapped: this.#wrapped(sealed) }
    } catch (thrown) {
      const failure = answeredFailure(thrown)
      if (failure === 'altered') return { outcome: 'altered' }
      if (failure === 'other_key') return { outcome: 'other_key', ours: provider.#config.keyId }
      // Whoever may not re-encrypt may still decrypt with the one key and encrypt with the other.
      if (failure === 'denied' || failure === 'not_found') return { outcome: 'impossible' }
      throw thrown
    }
  }

  close(): void {
    this.#client.close()
  }

  async #generate(context: Record<string, string>): Promise<Sealed & { dek: Dek }> {
    const made = await this.#call('GenerateDataKey', (keyId, signal) =>
      this.#client.generateDataKey(keyId, context, signal),
    )
    try {
      this.#requireOurs('GenerateDataKey', made.keyId)
      return made
    } catch (error) {
      made.dek.close()
      throw error
    }
  }

  async #decrypt(keyId: string, blob: Uint8Array, context: Record<string, string>): Promise<UnwrapResult> {
    try {
      const { dek, keyId: used } = await this.#call('Decrypt', (configured, signal) =>
        this.#client.decrypt(configured, blob, context, signal),
      )
      // A blob that somebody's other key made is none of ours, whatever the manifest says.
      if (isSameKey(used, keyId) && canBe(this.#config.keyId, used)) {
        this.#arn ??= used
        return { outcome: 'opened', dek }
      }
      dek.close()
      return { outcome: 'other_key', ours: used }
    } catch (thrown) {
      const failure = answeredFailure(thrown)
      if (failure === 'altered') return { outcome: 'altered' }
      if (failure === 'other_key') return { outcome: 'other_key', ours: this.#arn ?? this.#config.keyId }
      throw thrown
    }
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

  #requireOurs(operation: KmsOperation, arn: string): void {
    const isOurs = this.#arn === undefined ? canBe(this.#config.keyId, arn) : isSameKey(this.#arn, arn)
    if (isOurs && PRINTABLE.test(arn)) {
      this.#arn ??= arn
      return
    }
    const expected = this.#arn ?? this.#config.keyId
    throw new NimbusError('key_wrong', `KMS ${operation} used another key than ${expected}: ${JSON.stringify(arn)}`, {
      remediation: 'If the alias was given to another key, start again; files of the old key need it until rotate-kek.',
      detail: { operation, key_id: expected },
    })
  }

  #wrapped({ keyId, blob }: Sealed): WrappedDek {
    return { keyId, hint: printable(`${this.#config.keyId} in ${this.#client.region}`, MAX_HINT_LENGTH), wrapped: blob }
  }
}

/** What a manifest can hold. */
const PRINTABLE = /^[\x21-\x7e]{1,2048}$/

function verdictOf(thrown: unknown): Verdict {
  const failure = failureOf(thrown)
  return failure === 'throttled' ? 'throttled' : failure === 'unavailable' ? 'again' : 'final'
}

/** What the KMS said, of an error that `#call` made. */
function answeredFailure(thrown: unknown): KmsFailure | undefined {
  return thrown instanceof NimbusError && thrown.cause !== undefined ? failureOf(thrown.cause) : undefined
}

/** The outcome of one call for several callers, each of whom gets a handle of their own. */
class SharedDek {
  readonly #result: Promise<UnwrapResult>
  #takers = 0

  constructor(result: Promise<UnwrapResult>, settled: () => void) {
    this.#result = result
    result.then(settled, settled)
  }

  async take(): Promise<UnwrapResult> {
    this.#takers += 1
    const result = await this.#result
    this.#takers -= 1
    if (result.outcome !== 'opened') return result
    try {
      return { outcome: 'opened', dek: result.dek.share() }
    } finally {
      if (this.#takers === 0) result.dek.close()
    }
  }
}
