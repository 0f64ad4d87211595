import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type DataDirectory, listDatabaseFiles, readDirectoryStatus } from '../../src/encryption/directory.js'
import { createProtected, markDeleting } from '../../src/encryption/protect.js'
import { familyOf, readFileStatus } from '../../src/encryption/status.js'
import { rejectionOf } from '../support/failure.js'
import { CONTROL_PLANE, DEMO, FORMS, REDB, SQLITE, genuine, madeFile, namesIn, place } from './setup.js'

const PLAINTEXT = SQLITE.plaintext

describe('the status of a file', () => {
  it('is everything that its manifest says, with its size, and needs no key', async () => {
    const where = await place()
    const made = await madeFile(where)
    where.provider.close()
    expect(await readFileStatus(where.file, { expected: DEMO })).toEqual({
      path: where.file,
      family: 'embedded_sqlite',
      state: 'encrypted',
      subject: 'db:sqlite:tenant:demo:demo.sqlite3',
      cipher: 'sqlcipher',
      profile: 'sqlcipher-4-sha256',
      provider: 'master_key_file',
      key_id: made.manifest.current.keyId,
      generation: '1',
      created_at: made.manifest.createdAt,
      rotated_at: null,
      verified_at: null,
      size_bytes: 4096,
    })
  })

  it.each([REDB, CONTROL_PLANE])('of the sealed file $fileName is told by its manifest as well', async (form) => {
    const where = await place(form)
    const made = await madeFile(where)
    expect(await readFileStatus(where.file, { expected: form.subject })).toMatchObject({
      family: form === REDB ? 'embedded_redb' : 'control_plane_redb',
      state: 'encrypted',
      cipher: 'aes-256-gcm-siv',
      profile: 'sealed-redb-1',
      key_id: made.manifest.current.keyId,
      generation: '1',
      size_bytes: 12_288,
    })
    rmSync(`${where.file}.nimbus-enc`)
    expect(await readFileStatus(where.file, { expected: form.subject })).toMatchObject({ state: 'manifest_missing' })
  })

  it('of plaintext is plaintext', async () => {
    const { file } = await place()
    writeFileSync(file, PLAINTEXT)
    expect(await readFileStatus(file, { expected: DEMO })).toMatchObject({
      state: 'plaintext',
      family: 'embedded_sqlite',
      subject: 'db:sqlite:tenant:demo:demo.sqlite3',
      cipher: null,
      key_id: null,
      size_bytes: 4096,
    })
  })

  it.each(FORMS)('of plaintext under the name $fileName is plaintext, whose ever it is', async ({ plaintext }) => {
    const { file } = await place()
    writeFileSync(file, plaintext)
    expect(await readFileStatus(file)).toMatchObject({ state: 'plaintext' })
  })

  it('of an empty file is plaintext, with a note', async () => {
    const { file } = await place()
    writeFileSync(file, '')
    expect(await readFileStatus(file)).toMatchObject({ state: 'plaintext', note: 'the file is empty', size_bytes: 0 })
  })

  it('of ciphertext without its manifest is manifest_missing', async () => {
    const where = await place()
    await madeFile(where)
    rmSync(`${where.file}.nimbus-enc`)
    expect(await readFileStatus(where.file, { expected: DEMO })).toMatchObject({ state: 'manifest_missing' })
  })

  it('of a manifest without its file is data_missing, and keeps what the manifest says', async () => {
    const where = await place()
    await madeFile(where)
    rmSync(where.file)
    const status = await readFileStatus(where.file)
    expect(status).toMatchObject({ state: 'data_missing', generation: '1', size_bytes: null })
  })

  it('of an altered manifest is unreadable, with the reason', async () => {
    const where = await place()
    await madeFile(where)
    writeFileSync(`${where.file}.nimbus-enc`, '{"format":"nimbus-enc","version":9}\n')
    const status = await readFileStatus(where.file, { expected: DEMO })
    expect(status).toMatchObject({ state: 'unreadable', key_id: null })
    expect(status.note).toContain('a newer nimbus wrote')
  })

  it("of another tenant's manifest is unreadable, and shows whose it is", async () => {
    const where = await place()
    const { bytes, manifest } = await genuine(where.provider, { subject: { family: 'sqlite_tenant', tenant: 'evil' } })
    writeFileSync(`${where.file}.nimbus-enc`, bytes)
    writeFileSync(where.file, SQLITE.dataOf(manifest.current.fileId))
    const status = await readFileStatus(where.file, { expected: DEMO })
    expect(status).toMatchObject({ state: 'unreadable', subject: 'db:sqlite:tenant:evil:evil.sqlite3' })
    expect(status.note).toContain('db:sqlite:tenant:demo:demo.sqlite3')
    expect(await readFileStatus(where.file)).toMatchObject({ state: 'encrypted' })
  })

  it.each(FORMS)('of a file that does not fit its manifest says how: $fileName', async (form) => {
    const where = await place(form)
    await madeFile(where)
    const cases: [Buffer, string, string][] = [
      [Buffer.alloc(4096, 1), 'unreadable', 'does not begin as the file'],
      [form.dataOf(Buffer.alloc(16)), 'unreadable', 'does not begin as the file'],
      [Buffer.alloc(3, 1), 'unreadable', 'cut off'],
      [Buffer.alloc(0), 'unreadable', 'cut off'],
      [form.plaintext, 'plaintext', 'a manifest lies beside it'],
    ]
    for (const [bytes, state, note] of cases) {
      writeFileSync(where.file, bytes)
      const status = await readFileStatus(where.file, { expected: form.subject })
      expect(status.state).toBe(state)
      expect(status.note).toContain(note)
    }
  })

  it('of a file in the middle of something says what', async () => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    expect(await readFileStatus(where.file)).toMatchObject({
      state: 'data_missing',
      note: noteWith('being created'),
    })
    writeFileSync(where.file, 'half')
    expect(await readFileStatus(where.file)).toMatchObject({
      state: 'encrypted',
      note: noteWith('being created'),
    })
    await markDeleting(creating)
    expect(await readFileStatus(where.file)).toMatchObject({
      state: 'encrypted',
      note: noteWith('being deleted'),
    })
  })

  it.each(FORMS)('of a rotation is rotation_pending, whichever of the two keys $fileName is under', async (form) => {
    const where = await place(form)
    const ids = { fileId: Buffer.alloc(16, 3), nextFileId: Buffer.alloc(16, 4) }
    const { bytes } = await genuine(where.provider, { form, nextGeneration: 2n, ...ids })
    writeFileSync(`${where.file}.nimbus-enc`, bytes)
    for (const fileId of Object.values(ids)) {
      writeFileSync(where.file, form.dataOf(fileId))
      expect(await readFileStatus(where.file)).toMatchObject({ state: 'rotation_pending', generation: '1' })
    }
  })

  it('of what cannot be read as a file is unreadable', async () => {
    const where = await place()
    mkdirSync(where.file)
    expect(await readFileStatus(where.file)).toMatchObject({
      state: 'unreadable',
      note: noteWith('not a regular file'),
    })
  })

  it('changes nothing on the disk', async () => {
    const where = await place()
    await madeFile(where)
    const names = namesIn(where.dataDir)
    const bytes = readFileSync(`${where.file}.nimbus-enc`)
    await readFileStatus(where.file)
    expect(namesIn(where.dataDir)).toEqual(names)
    expect(readFileSync(`${where.file}.nimbus-enc`)).toEqual(bytes)
  })
})

describe('the status of a file that this process serves', () => {
  it('is told without opening the file', async () => {
    const where = await place()
    await madeFile(where)
    // Bytes that would be called damaged, had anybody looked.
    writeFileSync(where.file, Buffer.alloc(4096, 1))
    expect(await readFileStatus(where.file, { expected: DEMO, served: 'encrypted' })).toMatchObject({
      state: 'encrypted',
      size_bytes: 4096,
    })
  })

  it('is manifest_missing or plaintext without a manifest, as it is served', async () => {
    const { file } = await place()
    writeFileSync(file, Buffer.alloc(4096, 1))
    expect(await readFileStatus(file, { served: 'encrypted' })).toMatchObject({ state: 'manifest_missing' })
    expect(await readFileStatus(file, { served: 'plaintext' })).toMatchObject({ state: 'plaintext' })
  })

  it('is data_missing if it was taken away', async () => {
    const where = await place()
    await madeFile(where)
    rmSync(where.file)
    expect(await readFileStatus(where.file, { served: 'encrypted' })).toMatchObject({ state: 'data_missing' })
  })
})

describe('the files of a directory', () => {
  it('are all databases by their names, and whatever a manifest lies beside', async () => {
    const { dataDir } = await place()
    const names = [
      ...['b.sqlite3', 'a.sqlite3', 'a.sqlite3.nimbus-enc', 'c.redb', 'lost.sqlite3.nimbus-enc'],
      ...['a.sqlite3-wal', 'a.sqlite3-shm', 'a.sqlite3.nimbus-enc.tmp', '.nimbus.lock', 'notes.txt', 'a.sqlite3.bak'],
      ...['m.sqlite3.encrypted', 'm.sqlite3.encrypted.nimbus-enc', 'Odd.sqlite3', 'nimbus-control.db'],
      ...['c.redb.creating', 'nimbus-control.db.creating', 'nimbus-control.db.bak.nimbus-enc'],
    ]
    for (const name of names) writeFileSync(`${dataDir}/${name}`, '')
    const list = async (holds: DataDirectory['holds']) =>
      (await listDatabaseFiles({ path: dataDir, holds })).map(({ path, expected }) => [
        path.slice(dataDir.length + 1),
        expected === undefined ? null : familyOf(expected),
      ])
    expect(await list('tenants')).toEqual([
      ['Odd.sqlite3', null],
      ['a.sqlite3', 'embedded_sqlite'],
      ['b.sqlite3', 'embedded_sqlite'],
      ['c.redb', 'embedded_redb'],
      ['lost.sqlite3', 'embedded_sqlite'],
      ['m.sqlite3.encrypted', null],
    ])
    expect(await list('control_plane')).toEqual([
      ['nimbus-control.db', 'control_plane_redb'],
      ['nimbus-control.db.bak', null],
    ])
    expect((await list('libsql_caches')).slice(0, 2)).toEqual([
      ['Odd.sqlite3', null],
      ['a.sqlite3', 'libsql_replica_cache'],
    ])
  })

  it('are none if the directory does not exist', async () => {
    expect(await listDatabaseFiles({ path: '/does/not/exist', holds: 'tenants' })).toEqual([])
  })

  it('cannot be listed if it is a file', async () => {
    const { keyFile } = await place()
    expect(await rejectionOf(listDatabaseFiles({ path: keyFile, holds: 'tenants' }))).toMatchObject({
      code: 'io_error',
    })
  })

  it('are shown one by one, the damaged ones among them', async () => {
    const where = await place()
    await madeFile(where)
    writeFileSync(`${where.dataDir}/bad.sqlite3.nimbus-enc`, 'x')
    writeFileSync(`${where.dataDir}/plain.sqlite3`, PLAINTEXT)
    const files = await readDirectoryStatus([{ path: where.dataDir, holds: 'tenants' }])
    expect(files.map(({ path, state }) => [path.slice(where.dataDir.length + 1), state])).toEqual([
      ['bad.sqlite3', 'unreadable'],
      ['demo.sqlite3', 'encrypted'],
      ['plain.sqlite3', 'plaintext'],
    ])
  })
})

/** A text with this in it; typed as the text that it stands for. */
function noteWith(part: string): string {
  return expect.stringContaining(part) as string
}
