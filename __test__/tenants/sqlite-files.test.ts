/** Tenants' files: what every state of the disk becomes at a start, and that nothing else is touched. */
import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createProtected, markActive, markDeleting, openProtected } from '../../src/encryption/protect.js'
import { sqlcipherProfile } from '../../src/keys/profile.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import type { FileSubject } from '../../src/keys/subject.js'
import { SqliteStore } from '../../src/native.js'
import { SqliteTenant } from '../../src/tenants/sqlite/tenant.js'
import { rejectionOf } from '../support/failure.js'
import { writeIn } from '../support/directory.js'
import { allDocuments, fieldsOf } from './contract/home.js'
import { MODES, type FileHome, makeSqliteHome } from './file-home.js'
import { contentOf, makeTenants, tenantsOf } from './file-tenants.js'

const subjectOf = (tenant: string): FileSubject => ({ family: 'sqlite_tenant', tenant })

function overwrite(file: string, at: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, bytes, 0, bytes.length, at)
  closeSync(descriptor)
}

describe.each(MODES)('the files of a tenant, %s', (mode) => {
  it('are for their owner alone, and hold plaintext only if they are plain', async () => {
    const home = await makeSqliteHome(mode)
    await makeTenants(home, 'demo')
    const names = readdirSync(home.directory).sort()
    expect(names).toEqual(mode === 'plain' ? ['demo.sqlite3'] : ['demo.sqlite3', 'demo.sqlite3.nimbus-enc'])
    for (const name of names) expect(statSync(path.join(home.directory, name)).mode & 0o777).toBe(0o600)
    expect(statSync(home.directory).mode & 0o777).toBe(0o700)
    const bytes = readFileSync(home.fileOf('demo'))
    const isPlain = mode === 'plain'
    for (const text of ['SQLite format 3', 'plaintext to look for', 'nimbus_tables']) {
      expect(bytes.includes(text), text).toBe(isPlain)
    }
  })

  it('hold no plaintext while they are open and written to either', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    for (let n = 0; n < 20; n++) await store.insert('posts', { secret: 'plaintext to look for' })
    const names = readdirSync(home.directory)
    expect(names).toContain('demo.sqlite3-wal')
    const found = names.some((name) => readFileSync(path.join(home.directory, name)).includes('plaintext to look for'))
    expect(found).toBe(mode === 'plain')
  })

  it('are all gone when it is deleted', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    await (await provider.open('demo')).insert('posts', {})
    writeIn(home.directory, 'demo.sqlite3.nimbus-lock', '')
    await provider.delete('demo')
    expect(readdirSync(home.directory)).toEqual([])
  })

  it('announce their deletion before it waits for those who write, so that a crash cannot undo it', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    const padding = 'x'.repeat(100_000)
    const writes = Array.from({ length: 200 }, () => store.insert('posts', { padding }))
    const deletion = provider.delete('demo')
    const isAnnounced = () =>
      mode === 'plain'
        ? existsSync(`${home.fileOf('demo')}.deleting`)
        : readFileSync(`${home.fileOf('demo')}.nimbus-enc`, 'utf8').includes('"state":"deleting"')
    while (!isAnnounced()) await nextTurn()
    const crashed = await makeSqliteHome(mode)
    cpSync(home.directory, crashed.directory, { recursive: true })
    expect(existsSync(crashed.fileOf('demo'))).toBe(true)
    await Promise.all([deletion, ...writes])
    expect(readdirSync(home.directory)).toEqual([])
    const survivor = await crashed.open({ keys: home.keys })
    expect((await survivor.list({})).tenants).toEqual([])
    expect(readdirSync(crashed.directory)).toEqual([])
  })

  it('that are not of a tenant are neither served nor touched', async () => {
    const home = await makeSqliteHome(mode)
    await makeTenants(home, 'demo')
    writeIn(home.directory, 'Upper.sqlite3', 'not ours')
    writeIn(home.directory, 'notes.txt', 'not ours')
    writeIn(home.directory, 'demo.sqlite3.encrypted', 'a copy')
    writeIn(home.directory, 'x.y.sqlite3', 'not ours')
    writeIn(home.directory, 'nimbus-control.db', 'not ours')
    writeIn(home.directory, 'notes.creating', 'not ours')
    const before = contentOf(home)
    expect(await tenantsOf(home)).toEqual(['demo'])
    expect(Object.keys(contentOf(home))).toEqual(Object.keys(before))
    for (const name of ['Upper.sqlite3', 'notes.txt', 'demo.sqlite3.encrypted', 'x.y.sqlite3', 'notes.creating']) {
      expect(contentOf(home)[name]).toBe(before[name])
    }
  })

  it('are not created over a file that is there', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    for (const name of ['demo.sqlite3', 'other.sqlite3-wal', 'third.sqlite3.nimbus-enc']) {
      const tenant = name.slice(0, name.indexOf('.'))
      writeIn(home.directory, name, 'somebody was quicker')
      const before = contentOf(home)
      expect(await rejectionOf(provider.create(tenant))).toMatchObject({ code: 'target_exists' })
      expect(contentOf(home)).toEqual(before)
    }
    expect((await provider.list({})).tenants).toEqual([])
  })
})

describe('a start finds a plain tenant', () => {
  const states: [string, (home: FileHome) => void, boolean][] = [
    ['announced', (home) => writeIn(home.directory, 'new.sqlite3.creating', ''), false],
    [
      'half made',
      (home) => {
        writeIn(home.directory, 'new.sqlite3.creating', '')
        writeIn(home.directory, 'new.sqlite3', '')
        writeIn(home.directory, 'new.sqlite3-wal', randomBytes(5000))
      },
      false,
    ],
    [
      'made and not acknowledged',
      (home) => {
        writeIn(home.directory, 'new.sqlite3.creating', '')
        copyFileSync(home.fileOf('kept'), home.fileOf('new'))
      },
      false,
    ],
    [
      'marked for deletion',
      (home) => {
        copyFileSync(home.fileOf('kept'), home.fileOf('new'))
        writeIn(home.directory, 'new.sqlite3.deleting', '')
      },
      false,
    ],
    [
      'half deleted',
      (home) => {
        writeIn(home.directory, 'new.sqlite3-wal', randomBytes(5000))
        writeIn(home.directory, 'new.sqlite3.deleting', '')
      },
      false,
    ],
  ]

  it.each(states)('%s, and removes all of it', async (_, arrange) => {
    const home = await makeSqliteHome('plain')
    await makeTenants(home, 'kept')
    arrange(home)
    expect(await tenantsOf(home)).toEqual(['kept'])
    expect(readdirSync(home.directory)).toEqual(['kept.sqlite3'])
    const provider = await home.open()
    await provider.create('new')
    expect(await allDocuments(await provider.open('new'), 'posts')).toEqual([])
  })
})

describe('a start finds an encrypted tenant', () => {
  const half = (home: FileHome) => {
    if (home.keys === undefined) return expect.fail('no keys')
    return createProtected(home.fileOf('new'), subjectOf('new'), home.keys, 'sqlcipher-4-sha256')
  }
  const states: [string, (home: FileHome) => Promise<void>][] = [
    ['announced', async (home) => (await half(home)).dek.close()],
    [
      'half made',
      async (home) => {
        const file = await half(home)
        writeIn(home.directory, 'new.sqlite3', file.fileId)
        writeIn(home.directory, 'new.sqlite3-wal', randomBytes(5000))
        file.dek.close()
      },
    ],
    [
      'marked for deletion',
      async (home) => {
        const file = await markActive(await half(home))
        writeIn(home.directory, 'new.sqlite3', Buffer.concat([file.fileId, randomBytes(4080)]))
        await markDeleting(file)
        file.dek.close()
      },
    ],
    [
      'half deleted',
      async (home) => {
        const file = await markDeleting(await half(home))
        writeIn(home.directory, 'new.sqlite3-wal', randomBytes(5000))
        file.dek.close()
      },
    ],
  ]

  it.each(states)('%s, and removes all of it', async (_, arrange) => {
    const home = await makeSqliteHome('encrypted')
    await makeTenants(home, 'kept')
    await arrange(home)
    expect(await tenantsOf(home)).toEqual(['kept'])
    expect(readdirSync(home.directory).sort()).toEqual(['kept.sqlite3', 'kept.sqlite3.nimbus-enc'])
  })
})

describe('a start is refused, naming the file and touching nothing,', () => {
  const cases: [string, 'plain' | 'encrypted', (home: FileHome) => void, object][] = [
    [
      "for another file's manifest",
      'encrypted',
      (home) => copyFileSync(`${home.fileOf('good')}.nimbus-enc`, `${home.fileOf('bad')}.nimbus-enc`),
      { code: 'manifest_mismatch', path: 'bad.sqlite3.nimbus-enc' },
    ],
    [
      'for an edited manifest',
      'encrypted',
      (home) => appendFileSync(`${home.fileOf('bad')}.nimbus-enc`, ' '),
      { code: 'manifest_altered', path: 'bad.sqlite3.nimbus-enc' },
    ],
    [
      'for altered first bytes',
      'encrypted',
      (home) => overwrite(home.fileOf('bad'), 3, randomBytes(8)),
      { code: 'file_corrupt', path: 'bad.sqlite3' },
    ],
    [
      'for a plain file that was cut off within its header',
      'plain',
      (home) => truncateSync(home.fileOf('bad'), 60),
      { code: 'file_corrupt', path: 'bad.sqlite3' },
    ],
    [
      'for bytes that are no database',
      'plain',
      (home) => overwrite(home.fileOf('bad'), 0, randomBytes(100)),
      { code: 'file_corrupt', path: 'bad.sqlite3' },
    ],
    [
      'for a database of somebody else',
      'plain',
      (home) => overwrite(home.fileOf('bad'), 68, Buffer.alloc(4)),
      { code: 'file_corrupt', path: 'bad.sqlite3' },
    ],
    [
      'for a layout of a later version',
      'plain',
      (home) => overwrite(home.fileOf('bad'), 60, Buffer.from([0, 0, 0, 2])),
      { code: 'unsupported_for_provider', path: 'bad.sqlite3' },
    ],
  ]

  it.each(cases)('%s', async (_, mode, damage, { code, path: name }: { code?: string; path?: string }) => {
    const home = await makeSqliteHome(mode)
    await makeTenants(home, 'good', 'bad')
    damage(home)
    const before = contentOf(home)
    const failure = await rejectionOf(home.open())
    expect(failure).toMatchObject({ code, path: path.join(home.directory, name ?? '') })
    expect(failure.message).toContain(path.join(home.directory, 'bad.sqlite3'))
    expect(contentOf(home)).toEqual(before)
  })

  it('with a plain file among encrypted ones, saying how to migrate it', async () => {
    const plain = await makeSqliteHome('plain')
    await makeTenants(plain, 'old')
    const home = await makeSqliteHome('encrypted')
    await makeTenants(home, 'good')
    copyFileSync(plain.fileOf('old'), home.fileOf('old'))
    const before = contentOf(home)
    const failure = await rejectionOf(home.open())
    expect(failure).toMatchObject({
      code: 'manifest_missing',
      message: `sidecar manifest is missing: ${home.fileOf('old')}`,
    })
    expect(failure.remediation).toContain(`nimbus encryption migrate --source ${home.fileOf('old')}`)
    expect(contentOf(home)).toEqual(before)
  })

  it('with the wrong master key', async () => {
    const home = await makeSqliteHome('encrypted')
    await makeTenants(home, 'demo')
    const other = writeIn(path.dirname(home.directory), 'other.key', randomBytes(32), 0o400)
    const keys = await openMasterKeyFile(other, [home.directory])
    const before = contentOf(home)
    expect(await rejectionOf(home.open({ keys }))).toMatchObject({ code: 'key_wrong' })
    expect(contentOf(home)).toEqual(before)
  })
})

describe('an open tenant', () => {
  it('of a later layout is refused when it is first used, if its header cannot be read at the start', async () => {
    const home = await makeSqliteHome('encrypted')
    await makeTenants(home, 'demo')
    if (home.keys === undefined) return expect.fail('no keys')
    const { dek, fileId, profile } = await openProtected(home.fileOf('demo'), subjectOf('demo'), home.keys)
    const encryption = { dek, fileId, profile: sqlcipherProfile(profile) }
    const store = SqliteStore.open({ path: home.fileOf('demo'), mode: 'open', exclusive: true, encryption })
    await store.write([{ sql: 'PRAGMA user_version = 2' }])
    await store.close()
    const provider = await home.open()
    const documents = await provider.open('demo')
    const failure = await rejectionOf(documents.list('posts', {}))
    expect(failure).toMatchObject({ code: 'unsupported_for_provider', path: home.fileOf('demo') })
  })

  it.each(['sqlcipher-4', 'sqlcipher-4-sha256'] as const)(
    'keeps the profile %s that it was made with',
    async (profile) => {
      const home = await makeSqliteHome('encrypted', { profile })
      await makeTenants(home, 'demo')
      const other = profile === 'sqlcipher-4' ? 'sqlcipher-4-sha256' : 'sqlcipher-4'
      const provider = await home.open({ profile: other })
      const documents = await allDocuments(await provider.open('demo'), 'posts')
      expect(documents.map(fieldsOf)).toMatchObject([{ of: 'demo' }])
      expect(await provider.files()).toMatchObject([
        { state: 'encrypted', profile, subject: 'db:sqlite:tenant:demo:demo.sqlite3' },
      ])
    },
  )
})

describe('a catalog', () => {
  it('is in doubt after a failure of the store, and not after a statement that was refused', async () => {
    const home = await makeSqliteHome('plain')
    await makeTenants(home, 'demo')
    const store = SqliteStore.open({ path: home.fileOf('demo'), mode: 'open', exclusive: true })
    const { catalog } = SqliteTenant.load(store, home.fileOf('demo'))
    await store.write([{ sql: 'CREATE TABLE docs_2 (seq INTEGER)' }])
    await expect(catalog.ensure('others')).rejects.toThrow('already exists')
    expect(catalog.isDoubtful).toBe(false)
    await store.close()
    expect(await rejectionOf(catalog.ensure('others'))).toMatchObject({ code: 'shutting_down' })
    expect(catalog.isDoubtful).toBe(true)
  })
})
