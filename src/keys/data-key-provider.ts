/**
 * A key provider over a service that keeps the KEK. Each slot of a manifest has a data key of its own, which the service made and
 * sealed; the DEK is wrapped under it here, in native memory. So the DEK goes to nobody, whatever wrapped it before, and the
 * service needs two operations: to make a data key, and to open one.
 */
import { createHash } from 'node:crypto'
import { Dek, type WrappingKey, takeDataKey } from '../native.js'
import type { DekBinding } from './binding.js'
import type { DataKeyService, OpenedDataKey, SealedDataKey } from './data-key-service.js'
import { type EncryptionContext, encryptionContext } from './encryption-context.js'
import {
  type KeyProvider,
  MAX_HINT_LENGTH,
  type NewDek,
  type ProviderDescriptor,
  type RewrapResult,
  type UnwrapResult,
  type WrappedDek,
  type Wrapping,
} from './provider.js'
import { printable } from './quote.js'

/**
 * The provider over a service that hands keys over as bytes: how a program brings its own. Every data key that arrives is copied
 * into locked native memory and, unless the service `keepsKeys`, overwritten with zeros where it was.
 */
export function dataKeyProvider(service: DataKeyService): KeyProvider {
  if (!KIND.test(service.kind) || OUR_KINDS.includes(service.kind)) {
    throw new TypeError(
      `the kind of a key provider has at most 32 of a-z, 0-9 and _, and is not one of ${OUR_KINDS.join(', ')}`,
    )
  }
  return dataKeyProviderOf(new TakenIn(service))
}

/** Likewise over a service that moves keys into native memory itself. */
export function dataKeyProviderOf(service: DataKeyService<WrappingKey>): KeyProvider {
  return new DataKeyProvider(service)
}

const KIND = /^[a-z][a-z0-9_]{0,31}$/
/** A manifest is opened by the provider whose kind it names. */
const OUR_KINDS = ['master_key_file', 'key_directory', 'aws_kms']
/** Commitment 32, nonce 12, ciphertext 32, tag 16: in front of the blob. */
const SEALED_DEK_BYTES = 92
/** The data key serves this one DEK, and what it is bound to is the service's to check: docs/format.md, "Wrapped by a service". */
const HEADER = Buffer.from('nimbus-enc/1 data key')
/** Opened data keys that are kept, so that a file that was closed for lack of use opens again without a call: 32 bytes each. */
const KEPT = 4_096

class DataKeyProvider implements KeyProvider {
  readonly kind: string
  readonly warnings: readonly string[]
  readonly isRemote = true
  readonly rewrap?: NonNullable<KeyProvider['rewrap']>
  readonly #service: DataKeyService<WrappingKey>
  /** By what was opened, oldest first. Calls for the same one that overlap are one call. */
  readonly #opened = new Map<string, Promise<OpenedDataKey<WrappingKey>>>()
  #isClosed = false

  constructor(service: DataKeyService<WrappingKey>) {
    this.#service = service
    this.kind = service.kind
    this.warnings = service.warnings ?? []
    if (service.reseal !== undefined) this.rewrap = (from, binding) => this.#rewrap(from, binding)
  }

  describe(): ProviderDescriptor {
    return this.#service.describe()
  }

  mayOpen(keyId: string): boolean {
    return this.#service.mayOpen?.(keyId) ?? true
  }

  health(): Promise<void> {
    return this.#service.health()
  }

  async newDek(binding: DekBinding): Promise<NewDek> {
    const dek = Dek.generate()
    try {
      return { dek, ...(await this.wrap(binding, dek)) }
    } catch (error) {
      dek.close()
      throw error
    }
  }

  async wrap(binding: DekBinding, dek: Dek): Promise<WrappedDek> {
    // Before any network: a closed DEK is a mistake of the caller.
    dek.commitment(binding.salt)
    const { key, ...sealed } = await this.#service.generate(encryptionContext(binding))
    try {
      return this.#joined(key.wrap(dek, HEADER), sealed)
    } finally {
      key.close()
    }
  }

  async unwrap(binding: DekBinding, { keyId, wrapped }: WrappedDek): Promise<UnwrapResult> {
    if (wrapped.length <= SEALED_DEK_BYTES) return { outcome: 'altered' }
    const [sealedDek, blob] = parts(wrapped)
    const result = await this.#open({ keyId, blob }, encryptionContext(binding))
    if (result.outcome !== 'opened') return result
    const { outcome, ...opened } = result.key.unwrap(sealedDek, HEADER)
    // The data key is the slot's own: one that does not fit was put beside it.
    return outcome === 'opened' && 'dek' in opened ? { outcome, dek: opened.dek } : { outcome: 'altered' }
  }

  close(): void {
    this.#isClosed = true
    for (const opened of this.#opened.values()) closeLater(opened)
    this.#opened.clear()
    this.#service.close()
  }

  async #rewrap({ provider, binding: before, wrapped }: Wrapping, binding: DekBinding): Promise<RewrapResult> {
    if (this.#service.reseal === undefined || !(provider instanceof DataKeyProvider)) return { outcome: 'impossible' }
    if (wrapped.wrapped.length <= SEALED_DEK_BYTES) return { outcome: 'altered' }
    const [sealedDek, blob] = parts(wrapped.wrapped)
    const sealed = { keyId: wrapped.keyId, blob }
    const from = { service: provider.#service, sealed, context: encryptionContext(before) }
    const result = await this.#service.reseal(from, encryptionContext(binding))
    if (result.outcome !== 'resealed') return result
    return { outcome: 'rewrapped', wrapped: this.#joined(sealedDek, result.sealed) }
  }

  #open(sealed: SealedDataKey, context: EncryptionContext): Promise<OpenedDataKey<WrappingKey>> {
    if (this.#isClosed) throw new TypeError('this key provider was closed')
    const name = nameOf(sealed, context)
    const known = this.#opened.get(name)
    if (known !== undefined) {
      this.#keep(name, known)
      return known
    }
    const opening = this.#service.open(sealed, context)
    this.#keep(name, opening)
    const forget = (): void => {
      if (this.#opened.get(name) === opening) this.#opened.delete(name)
    }
    opening.then(({ outcome }) => {
      if (outcome !== 'opened') forget()
    }, forget)
    return opening
  }

  #keep(name: string, opened: Promise<OpenedDataKey<WrappingKey>>): void {
    this.#opened.delete(name)
    this.#opened.set(name, opened)
    const [oldest] = this.#opened
    if (this.#opened.size <= KEPT || oldest === undefined) return
    this.#opened.delete(oldest[0])
    closeLater(oldest[1])
  }

  #joined(sealedDek: Uint8Array, { keyId, blob }: SealedDataKey): WrappedDek {
    const hint = printable(this.#service.hint, MAX_HINT_LENGTH)
    return { keyId, hint, wrapped: Buffer.concat([sealedDek, blob]) }
  }
}

function parts(wrapped: Uint8Array): readonly [sealedDek: Uint8Array, blob: Uint8Array] {
  return [wrapped.subarray(0, SEALED_DEK_BYTES), wrapped.subarray(SEALED_DEK_BYTES)]
}

function nameOf({ keyId, blob }: SealedDataKey, context: EncryptionContext): string {
  return createHash('sha256')
    .update(JSON.stringify([keyId, context]))
    .update(blob)
    .digest('base64')
}

/** Whoever waits for the key already takes what they need before this comes. */
function closeLater(opened: Promise<OpenedDataKey<WrappingKey>>): void {
  opened.then(
    (result) => {
      if (result.outcome === 'opened') result.key.close()
    },
    () => undefined,
  )
}

/** Moves the keys of a service into native memory as they come. */
class TakenIn implements DataKeyService<WrappingKey> {
  readonly kind: string
  readonly warnings: readonly string[]
  readonly hint: string
  readonly #service: DataKeyService
  readonly reseal?: NonNullable<DataKeyService<WrappingKey>['reseal']>

  constructor(service: DataKeyService) {
    this.#service = service
    this.kind = service.kind
    this.warnings = service.warnings ?? []
    this.hint = service.hint
    if (service.reseal === undefined) return
    this.reseal = async (from, context) =>
      from.service instanceof TakenIn && service.reseal !== undefined
        ? service.reseal({ ...from, service: from.service.#service }, context)
        : { outcome: 'impossible' }
  }

  describe(): ProviderDescriptor {
    return this.#service.describe()
  }

  mayOpen(keyId: string): boolean {
    return this.#service.mayOpen?.(keyId) ?? true
  }

  health(): Promise<void> {
    return this.#service.health()
  }

  async generate(context: EncryptionContext): Promise<SealedDataKey & { key: WrappingKey }> {
    const { keyId, blob, key } = await this.#service.generate(context)
    return { keyId, blob, key: this.#taken(key) }
  }

  async open(sealed: SealedDataKey, context: EncryptionContext): Promise<OpenedDataKey<WrappingKey>> {
    const result = await this.#service.open(sealed, context)
    return result.outcome === 'opened' ? { outcome: 'opened', key: this.#taken(result.key) } : result
  }

  close(): void {
    this.#service.close()
  }

  #taken(key: Uint8Array): WrappingKey {
    return takeDataKey(this.#service.keepsKeys === true ? Uint8Array.from(key) : key)
  }
}
