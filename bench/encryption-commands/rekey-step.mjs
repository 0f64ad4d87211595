/** Rotates the DEK of a file, and prints the milliseconds of its rewriting alone: `rekey-step.mjs <file> <master key file>`. */
import { argv } from 'node:process'
import { nativeEngine } from '../../dist/encryption/rekey-engine.js'
import { rotateDek } from '../../dist/encryption/rotate-dek.js'
import { openMasterKeyFile } from '../../dist/keys/master-key-file.js'

const [file, keyFile] = argv.slice(2)
const provider = await openMasterKeyFile(keyFile, [])
let ms = 0
const engine = {
  ...nativeEngine,
  rekey: async (...request) => {
    const startedAt = performance.now()
    await nativeEngine.rekey(...request)
    ms = performance.now() - startedAt
  },
}
await rotateDek(file, { family: 'sqlite_tenant', tenant: 'bench' }, { provider, skipBackup: true, engine })
provider.close()
console.log(ms)
