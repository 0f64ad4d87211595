/**
 * Does everything that is done with a master key, writes a heap snapshot, and then waits to be looked at.
 *
 *     keeper.ts <key file> <file> <snapshot>
 */
import { writeFileSync } from 'node:fs'
import { writeHeapSnapshot } from 'node:v8'
import { checkProtected } from '../../../src/encryption/check.js'
import { createProtected, markActive, openProtected } from '../../../src/encryption/protect.js'
import { readFileStatus } from '../../../src/encryption/status.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'

const [keyFile = '', file = '', snapshot = ''] = process.argv.slice(2)
const subject = { family: 'sqlite_tenant', tenant: 'demo' } as const
const provider = await openMasterKeyFile(keyFile, [])
const creating = await createProtected(file, subject, provider, 'sqlcipher-4')
writeFileSync(file, Buffer.concat([creating.fileId, Buffer.alloc(4080, 0xa5)]))
const held = [
  await markActive(creating),
  await openProtected(file, subject, provider),
  await checkProtected(file, subject, provider),
  await readFileStatus(file),
]
writeHeapSnapshot(snapshot)
process.stdout.write('ready\n')
process.stdin.on('data', () => process.exit(held.length === 4 ? 0 : 1))
