/** What a wrapped DEK is bound to: unwrapped in any other place, under any other name, it is refused. */
import { type Profile, cipherOfProfile } from './profile.js'
import { type FileSubject, describe } from './subject.js'

export const MANIFEST_FORMAT = 'nimbus-enc'
export const MANIFEST_VERSION = 1

/** All of it is public and stands in the manifest. */
export interface DekBinding {
  readonly subject: FileSubject
  readonly profile: Profile
  /** 1 for the first DEK of a file, one more with every rekey. */
  readonly generation: bigint
  /** 16 random bytes that the file bears too: SQLCipher's salt, or the id in the superblock of a sealed redb file. */
  readonly fileId: Uint8Array
  /** 32 random bytes, fresh whenever a DEK is wrapped. */
  readonly salt: Uint8Array
}

/**
 * The associated data under which a DEK is wrapped locally: the stored spelling of every field that says what the DEK
 * is for, one line of JSON without spaces, members in this order (docs/format.md, "Wrap header").
 *
 * The role of the slot is not in it, so that `next` becomes `current` without unwrapping; nor are hint, state and times,
 * which may change while the DEK stays: the manifest's MAC covers those.
 */
export function wrapHeader(binding: DekBinding, provider: string, keyId: string, commitment: Uint8Array): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      format: MANIFEST_FORMAT,
      version: MANIFEST_VERSION,
      subject: describe(binding.subject),
      cipher: cipherOfProfile(binding.profile),
      profile: binding.profile,
      generation: binding.generation.toString(),
      file_id: hex(binding.fileId),
      provider,
      key_id: keyId,
      salt: hex(binding.salt),
      commitment: hex(commitment),
    }),
    'utf8',
  )
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
