/** From the configuration to the one provider that is active. */
import type { EncryptionConfig } from '../config/storage.js'
import { keyDirectory, openKeyDirectory } from './key-dir.js'
import { masterKeyFile, openMasterKeyFile } from './master-key-file.js'
import type { KeyProvider } from './provider.js'

/**
 * Opens what `encryption` names; the configuration has refused what this version cannot serve. `dataDirs` are the
 * directories that the key protects, and may not lie in.
 *
 * @throws `key_missing`, `key_malformed`, `config_invalid`.
 */
export async function openKeyProvider(encryption: EncryptionConfig, dataDirs: readonly string[]): Promise<KeyProvider> {
  switch (encryption.provider) {
    case 'master-key-file':
      return openMasterKeyFile(encryption.masterKeyFile, dataDirs)
    case 'key-dir':
      return openKeyDirectory(encryption.keyDir, dataDirs)
    case 'aws-kms':
      // Its SDK takes longer to load than most commands to run.
      return (await import('./aws-kms/provider.js')).openAwsKms(encryption)
  }
}

/**
 * The same without waiting; `undefined` for a provider at the other end of a network.
 *
 * @throws as `openKeyProvider`.
 */
export function openKeyProviderAtOnce(
  encryption: EncryptionConfig,
  dataDirs: readonly string[],
): KeyProvider | undefined {
  switch (encryption.provider) {
    case 'master-key-file':
      return masterKeyFile(encryption.masterKeyFile, dataDirs)
    case 'key-dir':
      return keyDirectory(encryption.keyDir, dataDirs)
    case 'aws-kms':
      return undefined
  }
}
