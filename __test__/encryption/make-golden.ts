/**
 * Makes one golden set, for a new cipher or format version; existing sets are never made again.
 *
 *     node --import ./__test__/support/typescript.mjs __test__/encryption/make-golden.ts <profile>
 */
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createProtected, markActive } from '../../src/encryption/protect.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { isProfile, sqlcipherProfile } from '../../src/keys/profile.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { SqliteStore } from '../../src/native.js'
import { ROWS } from './golden-rows.js'

const name = process.argv[2] ?? ''
if (!isProfile(name)) throw new Error(`no such profile: ${name}`)
const profile = sqlcipherProfile(name)
process.chdir(fileURLToPath(new URL('../fixtures/golden/', import.meta.url)))
mkdirSync(profile)

const real = await openMasterKeyFile('master.key', [])
const provider: KeyProvider = {
  kind: real.kind,
  warnings: real.warnings,
  describe: () => real.describe(),
  // Not where the key happens to lie on the machine that makes the set.
  newDek: async (binding) => ({ ...(await real.newDek(binding)), hint: '/secure/path/master.key' }),
  wrap: (binding, dek) => real.wrap(binding, dek),
  unwrap: (binding, wrapped, commitment) => real.unwrap(binding, wrapped, commitment),
  close: () => real.close(),
}
const path = `${profile}/demo.sqlite3`
const file = await createProtected(path, { family: 'sqlite_tenant', tenant: 'demo' }, provider, profile)
const { dek, fileId } = file
const store = SqliteStore.open({ path, mode: 'create', exclusive: false, encryption: { dek, fileId, profile } })
await store.write([
  { sql: 'CREATE TABLE golden (id INTEGER PRIMARY KEY, name TEXT, score REAL, data BLOB)' },
  ...ROWS.map((row) => ({ sql: 'INSERT INTO golden VALUES (?, ?, ?, ?)', params: [...row] })),
])
await store.close()
await markActive(file)
