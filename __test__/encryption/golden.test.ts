import { copyFileSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { encodeBody, encodeManifest } from '../../src/manifest/encode.js'
import { parseManifest } from '../../src/manifest/parse.js'
import { SqliteStore } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'
import { ROWS } from './golden-rows.js'
import { independentlyOpen } from './independent-reader.js'
import { DEMO } from './setup.js'

const GOLDEN = fileURLToPath(new URL('../fixtures/golden/', import.meta.url))
const KEY_FILE = path.join(GOLDEN, 'master.key')
const profiles = ['sqlcipher-4', 'sqlcipher-4-sha256'] as const

/** A copy of the set: opening a database may write to it. */
function copyOf(profile: string): string {
  const directory = temporaryDirectory()
  for (const name of ['demo.sqlite3', 'demo.sqlite3.nimbus-enc']) {
    copyFileSync(path.join(GOLDEN, profile, name), path.join(directory, name))
  }
  return path.join(directory, 'demo.sqlite3')
}

describe.each(profiles)('the golden file of %s', (profile) => {
  it('opens, and holds what was written', async () => {
    const file = copyOf(profile)
    const opened = await checkProtected(file, DEMO, await openMasterKeyFile(KEY_FILE, []))
    if (opened === undefined) return expect.fail('it was taken for a left-over')
    const { dek, fileId } = opened
    expect(opened.profile).toBe(profile)
    const store = SqliteStore.open({ path: file, mode: 'open', exclusive: true, encryption: { dek, fileId, profile } })
    const rows = await store.query('SELECT id, name, score, data FROM golden ORDER BY id', [])
    await store.close()
    expect(rows.map((row) => row.map(plain))).toEqual(ROWS.map((row) => row.map(plain)))
  })

  it('has a manifest that is spelled as this version spells it', () => {
    const bytes = readFileSync(path.join(GOLDEN, profile, 'demo.sqlite3.nimbus-enc'))
    const { manifest, mac } = parseManifest(bytes, 'x')
    expect(manifest).toMatchObject({ subject: DEMO, profile, state: 'active', rotatedAt: null, next: null })
    expect(Buffer.from(encodeManifest(encodeBody(manifest), mac))).toEqual(bytes)
  })

  it('opens for a reader that knows docs/format.md and none of our code', () => {
    const manifest = readFileSync(path.join(GOLDEN, profile, 'demo.sqlite3.nimbus-enc'))
    const data = readFileSync(path.join(GOLDEN, profile, 'demo.sqlite3'))
    const read = independentlyOpen(manifest, readFileSync(KEY_FILE), data.subarray(0, 4096))
    expect(read.problems).toEqual([])
    // SQLite's header after the 16 bytes that the salt replaced: page size 4096, WAL mode twice, 80 bytes reserved.
    expect([...read.firstPage.subarray(0, 5)]).toEqual([0x10, 0x00, 2, 2, 80])
    expect(read.firstPage.toString('latin1')).toContain('CREATE TABLE golden')
  })
})

function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value
}
