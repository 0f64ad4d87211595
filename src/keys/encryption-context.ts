/** What a data key is bound to in the service that keeps the KEK. */
import { MANIFEST_FORMAT, MANIFEST_VERSION, type DekBinding, hex } from './binding.js'
import { cipherOfProfile } from './profile.js'
import { describe } from './subject.js'

export type EncryptionContext = Readonly<Record<string, string>>

/**
 * All of the binding, each value spelled as in the manifest. A service authenticates it as associated data; AWS KMS also writes
 * it into its audit log, and lets policies demand it. Nothing in it is secret.
 */
export function encryptionContext(binding: DekBinding): EncryptionContext {
  return {
    'nimbus:format': `${MANIFEST_FORMAT}/${MANIFEST_VERSION}`,
    'nimbus:descriptor': describe(binding.subject),
    'nimbus:cipher': cipherOfProfile(binding.profile),
    'nimbus:profile': binding.profile,
    'nimbus:generation': binding.generation.toString(),
    'nimbus:file-id': hex(binding.fileId),
    'nimbus:salt': hex(binding.salt),
  }
}
