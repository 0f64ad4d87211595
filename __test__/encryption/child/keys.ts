/** The provider that a process of the tests is told to use: the path of a master key file, that of a key directory with a `/` behind it, or
 * `<endpoint> <KMS key> <region>`. */
import { openKeyDirectory } from '../../../src/keys/key-dir.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import type { KeyProvider } from '../../../src/keys/provider.js'

export async function openKeys(what: string): Promise<KeyProvider> {
  if (what.endsWith('/')) return openKeyDirectory(what, [])
  const [endpointUrl, keyId, region] = what.split(' ')
  if (keyId === undefined) return openMasterKeyFile(what, [])
  const { openAwsKms } = await import('../../../src/keys/aws-kms/provider.js')
  return openAwsKms({ provider: 'aws-kms', keyId, region, endpointUrl })
}
