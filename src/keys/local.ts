/** What all providers share whose KEKs come into this process: wrapping and unwrapping in native memory, under a key derived for each slot. */
import { Dek, type WrappingKey } from '../native.js'
import { type DekBinding, wrapHeader } from './binding.js'
import {
  type ImmediateKeys,
  MAX_HINT_LENGTH,
  type KeyProvider,
  type NewDek,
  type ProviderDescriptor,
  type UnwrapResult,
  type WrappedDek,
} from './provider.js'
import { printable } from './quote.js'
import { describe } from './subject.js'

/** A KEK in native memory, as a handle. */
export interface Kek {
  /** 32 hex digits, derived from the key. */
  readonly keyId: string
  /** A key for one slot of one manifest, which the caller closes. */
  wrappingKey(salt: Uint8Array, descriptor: string): WrappingKey
}

/** Where KEKs come from. */
export interface KekHolder {
  /** As `KeyProvider.kind`. */
  readonly kind: string
  readonly warnings: readonly string[]
  describe(): ProviderDescriptor
  /** Runs `use` with the KEK of the subject with this descriptor, and with where that is, for people. The KEK is used only meanwhile. */
  withKek<T>(descriptor: string, use: (kek: Kek, hint: string) => T): T
  close(): void
}

export function localKeyProvider(holder: KekHolder): KeyProvider {
  return new LocalKeyProvider(holder)
}

/** Commitment 32, nonce 12, ciphertext 32, tag 16. */
const WRAPPED_BYTES = 92

class LocalKeyProvider implements KeyProvider {
  readonly kind: string
  readonly warnings: readonly string[]
  readonly atOnce: ImmediateKeys
  readonly #holder: KekHolder

  constructor(holder: KekHolder) {
    this.#holder = holder
    this.atOnce = {
      newDek: (binding) => this.#newDek(binding),
      unwrap: (binding, wrapped, commitment) => this.#unwrap(binding, wrapped, commitment),
    }
    this.kind = holder.kind
    this.warnings = holder.warnings
  }

  describe(): ProviderDescriptor {
    return this.#holder.describe()
  }

  async newDek(binding: DekBinding): Promise<NewDek> {
    return this.#newDek(binding)
  }

  async wrap(binding: DekBinding, dek: Dek): Promise<WrappedDek> {
    return this.#wrap(binding, dek)
  }

  async unwrap(binding: DekBinding, wrapped: WrappedDek, commitment: Uint8Array): Promise<UnwrapResult> {
    return this.#unwrap(binding, wrapped, commitment)
  }

  close(): void {
    this.#holder.close()
  }

  #newDek(binding: DekBinding): NewDek {
    const dek = Dek.generate()
    try {
      return { dek, ...this.#wrap(binding, dek) }
    } catch (error) {
      dek.close()
      throw error
    }
  }

  #wrap(binding: DekBinding, dek: Dek): WrappedDek {
    return this.#holder.withKek(describe(binding.subject), (kek, hint) => {
      const header = wrapHeader(binding, this.kind, kek.keyId, dek.commitment(binding.salt))
      const wrapped = withWrappingKey(kek, binding, (wrappingKey) => wrappingKey.wrap(dek, header))
      return { keyId: kek.keyId, hint: printable(hint, MAX_HINT_LENGTH), wrapped }
    })
  }

  #unwrap(binding: DekBinding, { keyId, wrapped }: WrappedDek, commitment: Uint8Array): UnwrapResult {
    if (wrapped.length !== WRAPPED_BYTES) return { outcome: 'altered' }
    return this.#holder.withKek(describe(binding.subject), (kek) => {
      const header = wrapHeader(binding, this.kind, keyId, commitment)
      const result = withWrappingKey(kek, binding, (wrappingKey) => wrappingKey.unwrap(wrapped, header))
      if (result.outcome !== 'other_key') return result
      // The derived key differs, yet the manifest names our key: then it was the salt or the wrapped key that changed.
      return keyId === kek.keyId ? { outcome: 'altered' } : { outcome: 'other_key', ours: kek.keyId }
    })
  }
}

function withWrappingKey<T>(kek: Kek, binding: DekBinding, use: (wrappingKey: WrappingKey) => T): T {
  const wrappingKey = kek.wrappingKey(binding.salt, describe(binding.subject))
  try {
    return use(wrappingKey)
  } finally {
    wrappingKey.close()
  }
}
