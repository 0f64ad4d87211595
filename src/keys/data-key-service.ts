/** The contract of a service that keeps a KEK where no program can read it: a cloud's KMS, an HSM, another process. */
import type { EncryptionContext } from './encryption-context.js'
import type { ProviderDescriptor } from './provider.js'

/** A data key under the KEK, as the service gives it out. */
export interface SealedDataKey {
  /** Names the KEK for good, never by an alias: printable ASCII, at most 2,048 characters. */
  readonly keyId: string
  /** 32 to 8,100 bytes, whose meaning only the service knows. */
  readonly blob: Uint8Array
}

export type OpenedDataKey<Key> =
  | { readonly outcome: 'opened'; readonly key: Key }
  /** Another KEK sealed it; `ours` is the key id that was tried. */
  | { readonly outcome: 'other_key'; readonly ours: string }
  /** Our KEK sealed it, and since then the blob or its context was changed. */
  | { readonly outcome: 'altered' }

export type ResealedDataKey =
  | { readonly outcome: 'resealed'; readonly sealed: SealedDataKey }
  /** Not between these two KEKs: other regions, a missing permission. */
  | { readonly outcome: 'impossible' }
  | Exclude<OpenedDataKey<never>, { readonly outcome: 'opened' }>

/**
 * Calls may overlap. `context` is public and must be authenticated: a blob that was sealed under one context opens under no
 * other. Failures that are not about one blob (no such KEK, access denied, no network) are thrown as `NimbusError`:
 * `kms_key_not_found`, `kms_denied`, `kms_throttled`, `kms_unavailable`, or `key_missing`. Retries and time-outs are the service's.
 *
 * `Key` is how a key of 32 bytes is handed over: bytes, which are copied into locked native memory and, unless `keepsKeys`, wiped
 * where they were. (A key in a JavaScript string cannot be wiped: read keys into buffers.)
 */
export interface DataKeyService<Key = Uint8Array> {
  /** The manifest's `provider`: lower-case letters, digits and `_`, at most 32, and not the name of a provider of nimbus. */
  readonly kind: string
  /** What the operator should know before anything goes wrong; `start` logs each. */
  readonly warnings?: readonly string[]
  /** The bytes that are handed over stay the service's, which wipes them itself. */
  readonly keepsKeys?: boolean
  describe(): ProviderDescriptor
  /** Where the KEK is, for messages, at most 4,096 characters: for whoever finds the manifest in ten years. */
  readonly hint: string
  /** False if the KEK of this id is not the one of this service, as far as that is known without a call. Left out: all may be. */
  mayOpen?(keyId: string): boolean
  /** Fails if no data key could be made now. */
  health(): Promise<void>
  /** 32 fresh random bytes, in the clear and sealed. */
  generate(context: EncryptionContext): Promise<SealedDataKey & { readonly key: Key }>
  open(sealed: SealedDataKey, context: EncryptionContext): Promise<OpenedDataKey<Key>>
  /**
   * Moves what `from`, a service of the same kind, sealed under the KEK of this one and to another context, without showing the
   * key; left out by services that cannot.
   */
  reseal?(
    from: {
      readonly service: DataKeyService<Key>
      readonly sealed: SealedDataKey
      readonly context: EncryptionContext
    },
    context: EncryptionContext,
  ): Promise<ResealedDataKey>
  close(): void
}
