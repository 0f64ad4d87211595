/** Another process that opens a tenant's file by itself, and prints what came of it. */
import path from 'node:path'
import { openProtected } from '../../../src/encryption/protect.js'
import { NimbusError } from '../../../src/errors.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import { sqlcipherProfile } from '../../../src/keys/profile.js'
import { SqliteStore, type StoreEncryption } from '../../../src/native.js'

const [directory = '', keyFile = ''] = process.argv.slice(2)
const file = path.join(directory, 'demo.sqlite3')

async function keyOf(): Promise<StoreEncryption | undefined> {
  if (keyFile === '') return undefined
  const keys = await openMasterKeyFile(keyFile, [directory])
  const { dek, fileId, profile } = await openProtected(file, { family: 'sqlite_tenant', tenant: 'demo' }, keys)
  return { dek, fileId, profile: sqlcipherProfile(profile) }
}

try {
  const store = SqliteStore.open({ path: file, mode: 'open', exclusive: true, encryption: await keyOf() })
  store.get('SELECT count(*) FROM nimbus_tables', [])
  await store.close()
  process.stdout.write('opened')
} catch (error) {
  if (!(error instanceof NimbusError)) throw error
  process.stdout.write(error.code)
}
