/** The provider `master-key-file`: one file of 32 raw bytes, from which each manifest's wrapping key is derived. */
import { resolve } from 'node:path'
import { readMasterKeyFile } from '../native.js'
import { permissionWarnings, readKey } from './key-file.js'
import { localKeyProvider } from './local.js'
import { refuseKeyInside } from './location.js'
import type { KeyProvider } from './provider.js'

const KIND = 'master_key_file'
const WHAT = 'master key file'

/**
 * Reads the key, straight into native memory, and keeps it until the provider is closed.
 *
 * @throws `key_missing`, `key_malformed`, each with what is wrong in `detail.reason`; `config_invalid` for a key inside a data directory.
 */
export async function openMasterKeyFile(path: string, dataDirs: readonly string[]): Promise<KeyProvider> {
  return masterKeyFile(path, dataDirs)
}

/** The same for callers who cannot wait. */
export function masterKeyFile(path: string, dataDirs: readonly string[]): KeyProvider {
  refuseKeyInside(path, dataDirs)
  const { key, mode } = readKey(readMasterKeyFile, path, `${WHAT} ${path}`)
  const hint = resolve(path)
  return localKeyProvider({
    kind: KIND,
    warnings: permissionWarnings(WHAT, path, mode, '400'),
    describe: () => ({ provider: KIND, path }),
    withKek: (_descriptor, use) => use(key, hint),
    close: () => key.close(),
  })
}
