/** Opens a master key file and prints what came of it: for tests that need another user. */
import { NimbusError } from '../../../src/errors.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'

try {
  await openMasterKeyFile(process.argv[2] ?? '', [])
  process.stdout.write('{"code":null}')
} catch (error) {
  if (!(error instanceof NimbusError)) throw error
  const { code, message, remediation, detail } = error
  process.stdout.write(JSON.stringify({ code, message, remediation, reason: detail['reason'] }))
}
