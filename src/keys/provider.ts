/** The contract of a key provider: whatever holds the KEK, makes DEKs and opens wrapped ones. */
import type { Dek } from '../native.js'
import type { DekBinding } from './binding.js'

/** Where the KEK is, as `nimbus encryption status` and `GET /debug/encryption/status` show it; never key material. */
export type ProviderDescriptor =
  | { readonly provider: 'master_key_file' | 'key_directory'; readonly path: string }
  /** A service that keeps the KEK, and whatever else has no path. */
  | { readonly provider: string; readonly key_id: string; readonly region: string | null }

/** The longest hint that a manifest holds, in UTF-16 units. */
export const MAX_HINT_LENGTH = 4096

/** A DEK that only its KEK opens. */
export interface WrappedDek {
  /** Identifies the KEK without saying where it is: printable ASCII, at most 2,048 characters. Authenticated. */
  readonly keyId: string
  /** Where the KEK was when it wrapped: for messages only. A key may move, so nothing is ever decided by it. */
  readonly hint: string
  /** At most 8,192 bytes; only the provider knows their meaning. */
  readonly wrapped: Uint8Array
}

/** A wrapped DEK with everything that it is bound to, and the provider that opens it. */
export interface Wrapping {
  readonly provider: KeyProvider
  readonly binding: DekBinding
  readonly wrapped: WrappedDek
}

export interface NewDek extends WrappedDek {
  /** The caller closes it. */
  readonly dek: Dek
}

export type UnwrapResult =
  /** The caller closes the DEK, and still compares its commitment and the manifest's MAC. */
  | { readonly outcome: 'opened'; readonly dek: Dek }
  /** Another KEK wrapped it. `ours` is the key id that was tried. */
  | { readonly outcome: 'other_key'; readonly ours: string }
  /** Our KEK wrapped it, and since then it or what it is bound to was changed. */
  | { readonly outcome: 'altered' }

export type RewrapResult =
  | { readonly outcome: 'rewrapped'; readonly wrapped: WrappedDek }
  /** Not between these two KEKs (other regions, a missing permission): unwrap, then wrap. */
  | { readonly outcome: 'impossible' }
  | Exclude<UnwrapResult, { readonly outcome: 'opened' }>

/** `newDek` and `unwrap` of a provider that needs no network, with the same results and failures. */
export interface ImmediateKeys {
  newDek(binding: DekBinding): NewDek
  unwrap(binding: DekBinding, wrapped: WrappedDek, commitment: Uint8Array): UnwrapResult
}

/**
 * Everything is asynchronous, since a KEK may be at the other end of a network. Calls may overlap.
 *
 * A provider binds the whole of `binding` into what it wraps, as associated data (`wrapHeader`) or as encryption context,
 * and refuses to unwrap under any other binding. It never tries a second key. Failures that are not about one wrapped
 * DEK (the KEK is missing, access is denied, the network is down) are thrown as `NimbusError` with their own code.
 */
export interface KeyProvider {
  /** The manifest's `provider`: lower-case letters, digits and `_`. */
  readonly kind: string
  /** What the operator should know before anything goes wrong; `start` logs each. */
  readonly warnings: readonly string[]
  /**
   * Unwrapping takes a network: a start then compares manifests and files without a key, and each file is unwrapped when it is first
   * used. Left out, a start unwraps them all.
   */
  readonly isRemote?: boolean
  describe(): ProviderDescriptor
  /** False if a DEK under the KEK of this id can be none of ours, as far as that is known without a network. Of remote providers only. */
  mayOpen?(keyId: string): boolean
  /** Fails if no DEK could be made now; a start asks once before it serves. Left out by providers that know when they are opened. */
  health?(): Promise<void>
  /** A DEK that nothing was encrypted under yet. */
  newDek(binding: DekBinding): Promise<NewDek>
  /** Wraps a DEK that there is already, which stays the caller's and open: for a change of the KEK. */
  wrap(binding: DekBinding, dek: Dek): Promise<WrappedDek>
  unwrap(binding: DekBinding, wrapped: WrappedDek, commitment: Uint8Array): Promise<UnwrapResult>
  /**
   * Wraps anew what a provider of the same `kind` wrapped, where the KEKs are, so that the DEK does not pass through this process;
   * left out by providers that cannot. Whoever holds the KEKs refuses unless `from.wrapped` is bound to `from.binding`, and binds
   * the result to `binding`. Before the caller drops the old wrapping it unwraps the new one, and compares commitments.
   */
  rewrap?(from: Wrapping, binding: DekBinding): Promise<RewrapResult>
  /** Of providers whose KEK comes into this process: the same for callers who cannot wait. */
  readonly atOnce?: ImmediateKeys
  /** Wipes what the provider holds of the KEK. DEKs that it made stay open. */
  close(): void
}
