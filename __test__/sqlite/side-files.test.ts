/** A log or journal beside an encrypted file, and damage to the log of an open one: nothing foreign ever reaches the file. */
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Dek, randomBytes, SqliteStore, type CipherProfile, type StoreEncryption } from '../../src/native.js'
import { rejectionOf } from '../support/failure.js'

const PROFILES: CipherProfile[] = ['sqlcipher-4', 'sqlcipher-4-sha256']
const LOG_HEADER = 32
const FRAME = 24 + 4096

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nimbus-side-files-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const contents = (): Record<string, string> =>
  Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'hex')]))

/** A file whose table is in the data file; the log of `store` holds one page, and not the first. */
async function openWithSmallLog(path: string, encryption: StoreEncryption): Promise<SqliteStore> {
  const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption })
  await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body)' }])
  await store.checkpoint()
  await store.write([{ sql: 'INSERT INTO t VALUES (1, ?)', params: ['acknowledged'] }])
  return store
}

describe.each(PROFILES)('a file of the profile %s', (profile) => {
  const encryption = (): StoreEncryption => ({ dek: Dek.generate(), fileId: randomBytes(16), profile })

  it("refuses another tenant's log that spares its first page, and stays as it was", async () => {
    const [path, other] = [join(directory, 'a.sqlite3'), join(directory, 'b.sqlite3')]
    const key = encryption()
    await (await openWithSmallLog(path, key)).close()
    const foreign = await openWithSmallLog(other, encryption())
    const log = readFileSync(`${other}-wal`)
    await foreign.close()
    for (let at = LOG_HEADER; at < log.length; at += FRAME) expect(log.readUInt32BE(at)).toBeGreaterThan(1)
    writeFileSync(`${path}-wal`, log)
    const before = contents()
    const open = () => SqliteStore.open({ path, mode: 'open', exclusive: true, encryption: key })
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(open).toThrow(expect.objectContaining({ code: 'file_corrupt', path: `${path}-wal` }))
      expect(contents()).toEqual(before)
    }
    rmSync(`${path}-wal`)
    const again = open()
    expect(again.get('SELECT body FROM t', [])).toEqual(['acknowledged'])
    await again.close()
  })

  it('refuses a journal that would cut it, and stays as it was', async () => {
    const path = join(directory, 'a.sqlite3')
    const key = encryption()
    await (await openWithSmallLog(path, key)).close()
    const journal = Buffer.alloc(4096)
    Buffer.from('d9d505f920a163d7', 'hex').copy(journal)
    for (const [at, number] of [0, 0, 1, 512, 4096].entries()) journal.writeUInt32BE(number, 8 + 4 * at)
    writeFileSync(`${path}-journal`, journal)
    const before = contents()
    expect(() => SqliteStore.open({ path, mode: 'open', exclusive: true, encryption: key })).toThrow(
      expect.objectContaining({ code: 'file_corrupt', path: `${path}-journal` }),
    )
    expect(contents()).toEqual(before)
  })

  it('keeps what was acknowledged when its log is damaged while it is open', async () => {
    const path = join(directory, 'a.sqlite3')
    const key = encryption()
    const open = () => SqliteStore.open({ path, mode: 'open', exclusive: true, encryption: key })
    const store = await openWithSmallLog(path, key)
    await store.write([{ sql: 'CREATE TABLE other (body)' }, { sql: "INSERT INTO other VALUES ('untouched')" }])
    const log = readFileSync(`${path}-wal`)
    const data = readFileSync(path)
    const damaged = Buffer.from(log)
    damaged.writeUInt8(damaged.readUInt8(LOG_HEADER + 24 + 500) ^ 1, LOG_HEADER + 24 + 500)
    overwrite(`${path}-wal`, damaged)
    expect(await rejectionOf(store.query('SELECT body FROM t', []))).toMatchObject({ code: 'file_corrupt' })
    expect(await store.query('SELECT body FROM other', [])).toEqual([['untouched']])
    for (const refused of [store.write([{ sql: "INSERT INTO other VALUES ('new')" }]), store.checkpoint()]) {
      expect(await rejectionOf(refused)).toMatchObject({ code: 'file_corrupt', path: `${path}-wal` })
    }
    await store.close()
    expect(readFileSync(path).equals(data)).toBe(true)
    expect(readFileSync(`${path}-wal`).equals(damaged)).toBe(true)
    overwrite(`${path}-wal`, log)
    const again = open()
    expect(again.get('SELECT body FROM t', [])).toEqual(['acknowledged'])
    expect(again.get('SELECT count(*) FROM other', [])).toEqual([1])
    await again.close()
    expect(readdirSync(directory)).toEqual(['a.sqlite3'])
  })
})

/** In place, as a disk would: the file is open. */
function overwrite(path: string, bytes: Buffer): void {
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, bytes, 0, bytes.length, 0)
  closeSync(descriptor)
}
