/** What a sidecar manifest says: which file it belongs to, how that is encrypted, and its wrapped DEKs. */
import type { DekBinding } from '../keys/binding.js'
import type { Profile } from '../keys/profile.js'
import type { FileSubject } from '../keys/subject.js'

/** One wrapped DEK with everything that is needed to unwrap it and to know that it is the right one. */
export interface Slot {
  /** 1 for the first DEK of a file, one more with every rekey; a u64. */
  readonly generation: bigint
  /** 16 bytes. */
  readonly fileId: Uint8Array
  /** The kind of the provider that wrapped it. */
  readonly provider: string
  /** Where the key lay then; for messages only. */
  readonly hint: string
  readonly keyId: string
  /** 32 bytes. */
  readonly salt: Uint8Array
  /** 32 bytes: what `dek.commitment(salt)` must give. AES-GCM-SIV alone would let two DEKs open one ciphertext. */
  readonly commitment: Uint8Array
  readonly wrapped: Uint8Array
}

/**
 * What has to be true of the data file.
 *
 * | state      | the data file                                                        |
 * |------------|----------------------------------------------------------------------|
 * | `creating` | may be absent or half-made; nobody was told that it exists           |
 * | `active`   | exists, under `current`                                              |
 * | `rotating` | exists, under `current` or `next`: whichever matches is the truth    |
 * | `deleting` | may be gone already; nobody may open it again                        |
 */
export type State = 'creating' | 'active' | 'rotating' | 'deleting'

interface Common {
  readonly subject: FileSubject
  readonly profile: Profile
  /** RFC 3339, UTC, milliseconds. */
  readonly createdAt: string
  readonly rotatedAt: string | null
  readonly current: Slot
}

export interface SettledManifest extends Common {
  readonly state: Exclude<State, 'rotating'>
  readonly next: null
}

export interface RotatingManifest extends Common {
  readonly state: 'rotating'
  readonly next: Slot
}

export type Manifest = SettledManifest | RotatingManifest

/** A manifest as it was read: nothing in it is authenticated before `mac` is verified over `body` under its DEK. */
export interface StoredManifest {
  readonly manifest: Manifest
  /** The stored bytes that the MAC covers, not a re-encoding of them. */
  readonly body: Uint8Array
  /** 32 bytes. */
  readonly mac: Uint8Array
}

/** What the DEK of this slot is bound to. */
export function bindingOf(manifest: Manifest, slot: Slot): DekBinding {
  const { subject, profile } = manifest
  const { generation, fileId, salt } = slot
  return { subject, profile, generation, fileId, salt }
}
