import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from '@signalapp/sqlcipher'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { randomBytes, SqliteStore, type CipherProfile } from '../../src/native.js'
import { genuineSqlcipher, genuineSqlcipherIsHere } from '../support/genuine-sqlcipher.js'
import { handleOf, sqlcipherKeyText } from '../support/independent-keys.js'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nimbus-interoperation-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const rows = Array.from({ length: 200 }, (_, id) => ({ id, body: `row ${String(id)} `.repeat(id) }))
const asArrays = rows.map(({ id, body }) => [id, body])
const known = () => ({ dek: randomBytes(32), fileId: randomBytes(16) })

async function writeOurs(path: string, { dek, fileId }: ReturnType<typeof known>, profile: CipherProfile) {
  const encryption = { dek: handleOf(dek), fileId, profile }
  const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption })
  await store.write([
    { sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' },
    ...rows.map(({ id, body }) => ({ sql: 'INSERT INTO t VALUES (?, ?)', params: [id, body] })),
  ])
  await store.close()
}

/** Reads every row of a file that another SQLCipher wrote, then deletes most of them. */
async function readTheirs(path: string, { dek, fileId }: ReturnType<typeof known>, profile: CipherProfile) {
  const encryption = { dek: handleOf(dek), fileId, profile }
  const store = SqliteStore.open({ path, mode: 'open', exclusive: true, encryption })
  const found = await store.query('SELECT id, body FROM t ORDER BY id', [])
  await store.write([{ sql: 'DELETE FROM t WHERE id >= ?', params: [10] }])
  await store.close()
  return found
}

// Signal's build has a crypto provider of its own that knows HMAC-SHA512 alone, so it is the peer of one profile.
describe("Signal's SQLCipher and a file of the profile sqlcipher-4", () => {
  const signal = (path: string, key: string) => {
    const db = new Database(path)
    db.pragma(`key = "${key}"`)
    return db
  }

  it.each([true, false])('reads and checks ours with the raw key (salt given: %s)', async (withSalt) => {
    const [path, keys] = [join(directory, 'ours.sqlite3'), known()]
    await writeOurs(path, keys, 'sqlcipher-4')
    const db = signal(path, sqlcipherKeyText(keys.dek, keys.fileId, withSalt))
    expect(db.prepare('SELECT id, body FROM t ORDER BY id').all()).toEqual(rows)
    expect(db.prepare('PRAGMA cipher_integrity_check').all()).toEqual([])
    expect(db.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }])
    db.close()
  })

  it('writes what we read and write, and reads it again', async () => {
    const [path, keys] = [join(directory, 'theirs.sqlite3'), known()]
    const db = signal(path, sqlcipherKeyText(keys.dek, keys.fileId))
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)')
    for (const row of rows) db.prepare('INSERT INTO t VALUES ($id, $body)').run(row)
    db.close()
    expect(await readTheirs(path, keys, 'sqlcipher-4')).toEqual(asArrays)
    const again = signal(path, sqlcipherKeyText(keys.dek, keys.fileId))
    expect(again.prepare('SELECT count(*) AS count FROM t').get()).toEqual({ count: 10 })
    again.close()
  })
})

describe.skipIf(!genuineSqlcipherIsHere())('SQLCipher 4 over OpenSSL (needs python3 with pip)', () => {
  const profiles: { profile: CipherProfile; pragmas: string[] }[] = [
    { profile: 'sqlcipher-4', pragmas: [] },
    { profile: 'sqlcipher-4-sha256', pragmas: ['cipher_hmac_algorithm = HMAC_SHA256'] },
  ]

  it.each(profiles)('reads and checks ours of the profile $profile', async ({ profile, pragmas }) => {
    const [path, keys] = [join(directory, 'ours.sqlite3'), known()]
    await writeOurs(path, keys, profile)
    const [found, cipherDefects, integrity] = genuineSqlcipher({
      path,
      key: sqlcipherKeyText(keys.dek, keys.fileId, false),
      pragmas,
      statements: [
        ['SELECT id, body FROM t ORDER BY id', []],
        ['PRAGMA cipher_integrity_check', []],
        ['PRAGMA integrity_check', []],
      ],
    })
    expect(found).toEqual(asArrays)
    expect(cipherDefects).toEqual([])
    expect(integrity).toEqual([['ok']])
  })

  it.each(profiles)(
    'writes what we read and write, and reads it again, in the profile $profile',
    async ({ profile, pragmas }) => {
      const [path, keys] = [join(directory, 'theirs.sqlite3'), known()]
      const job = { path, key: sqlcipherKeyText(keys.dek, keys.fileId), pragmas }
      const inserts = rows.map(({ id, body }): [string, (string | number)[]] => [
        'INSERT INTO t VALUES (?, ?)',
        [id, body],
      ])
      genuineSqlcipher({ ...job, statements: [['CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)', []], ...inserts] })
      expect(await readTheirs(path, keys, profile)).toEqual(asArrays)
      expect(genuineSqlcipher({ ...job, statements: [['SELECT count(*) FROM t', []]] })).toEqual([[[10]]])
    },
  )
})

describe('a file that SQLCipher 4.12.0 over OpenSSL wrote with HMAC_SHA256', () => {
  it('opens as the profile sqlcipher-4-sha256', async () => {
    const path = join(directory, 'golden.sqlite3')
    copyFileSync('__test__/fixtures/sqlcipher/sqlcipher-4.12.0-sha256.sqlite3', path)
    const encryption = {
      dek: handleOf(Buffer.from(Array.from({ length: 32 }, (_, index) => index))),
      fileId: Buffer.from('genuine sqlciphr'),
      profile: 'sqlcipher-4-sha256' as const,
    }
    const store = SqliteStore.open({ path, mode: 'open', exclusive: true, encryption })
    expect(await store.query('SELECT id, body FROM t ORDER BY id', [])).toEqual(asArrays.slice(0, 20))
    await store.close()
  })
})

describe('the addon', () => {
  const addon = readdirSync('.').find((name) => /^nimbus\..*\.node$/.test(name)) ?? ''

  it('links no crypto library and exports nothing but its registration', () => {
    const needed = execFileSync('readelf', ['-d', addon], { encoding: 'utf8' })
    expect(needed).not.toMatch(/NEEDED.*(crypto|ssl|sqlite)/)
    const symbols = execFileSync('nm', ['-D', '--defined-only', addon], { encoding: 'utf8' })
    const names = symbols
      .trim()
      .split('\n')
      .map((line) => line.split(' ').at(-1))
    expect(names).toEqual(['napi_register_module_v1'])
  })
})
