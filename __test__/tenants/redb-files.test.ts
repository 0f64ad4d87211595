/** The files of tenants on redb: what every state of the disk becomes at a start. */
import { copyFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { createProtected, markActive, markDeleting } from '../../src/encryption/protect.js'
import type { FileSubject } from '../../src/keys/subject.js'
import { writeIn } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'
import { allDocuments } from './contract/home.js'
import { type FileHome, MODES, makeRedbHome } from './file-home.js'
import { contentOf, filesIn, makeTenants, tenantsOf } from './file-tenants.js'

const subjectOf = (tenant: string): FileSubject => ({ family: 'redb_tenant', tenant })

describe.each(MODES)('the files of a tenant on redb, %s', (mode) => {
  it('hold plaintext only if they are plain, while they are open too', async () => {
    const home = await makeRedbHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    for (let n = 0; n < 20; n++) await store.insert('posts', { secret: 'plaintext to look for' })
    const found = filesIn(home).some((name) =>
      readFileSync(path.join(home.directory, name)).includes('plaintext to look for'),
    )
    expect(found).toBe(mode === 'plain')
  })

  it('are all gone when it is deleted', async () => {
    const home = await makeRedbHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    await (await provider.open('demo')).insert('posts', {})
    await provider.delete('demo')
    expect(readdirSync(home.directory)).toEqual([])
    await provider.create('demo')
    expect(await allDocuments(await provider.open('demo'), 'posts')).toEqual([])
  })

  it('are not created over a file that is there', async () => {
    const home = await makeRedbHome(mode)
    const provider = await home.open()
    for (const name of ['demo.redb', 'third.redb.nimbus-enc']) {
      writeIn(home.directory, name, 'somebody was quicker')
      const before = contentOf(home)
      const tenant = name.slice(0, name.indexOf('.'))
      expect(await rejectionOf(provider.create(tenant))).toMatchObject({ code: 'target_exists' })
      expect(contentOf(home)).toEqual(before)
    }
  })
})

describe('a start finds a plain tenant on redb', () => {
  const states: [string, (home: FileHome) => void][] = [
    ['announced', (home) => writeIn(home.directory, 'new.redb.nimbus-creating', '')],
    [
      'half made',
      (home) => {
        writeIn(home.directory, 'new.redb.nimbus-creating', '')
        writeIn(home.directory, 'new.redb.creating', 'half')
      },
    ],
    [
      'made and not acknowledged',
      (home) => {
        writeIn(home.directory, 'new.redb.nimbus-creating', '')
        copyFileSync(home.fileOf('kept'), home.fileOf('new'))
      },
    ],
    [
      'marked for deletion',
      (home) => {
        copyFileSync(home.fileOf('kept'), home.fileOf('new'))
        writeIn(home.directory, 'new.redb.deleting', '')
      },
    ],
    ['half deleted', (home) => writeIn(home.directory, 'new.redb.deleting', '')],
  ]

  it.each(states)('%s, and removes all of it', async (_, arrange) => {
    const home = await makeRedbHome('plain')
    await makeTenants(home, 'kept')
    arrange(home)
    expect(await tenantsOf(home)).toEqual(['kept'])
    expect(filesIn(home)).toEqual(['kept.redb'])
    const provider = await home.open()
    await provider.create('new')
    expect(await allDocuments(await provider.open('new'), 'posts')).toEqual([])
  })
})

describe('a start finds an encrypted tenant on redb', () => {
  const states: [string, boolean, 'creating' | 'deleting'][] = [
    ['announced', false, 'creating'],
    ['half made', true, 'creating'],
    ['marked for deletion', true, 'deleting'],
    ['half deleted', false, 'deleting'],
  ]

  it.each(states)('%s, and removes all of it', async (_, hasData, state) => {
    const home = await makeRedbHome('encrypted')
    await makeTenants(home, 'kept')
    if (home.keys === undefined) return expect.fail('no keys')
    const file = await createProtected(home.fileOf('new'), subjectOf('new'), home.keys, 'sealed-redb-1')
    if (hasData) writeIn(home.directory, state === 'creating' ? 'new.redb.creating' : 'new.redb', 'data')
    if (state === 'deleting') await markDeleting(await markActive(file))
    file.dek.close()
    expect(await tenantsOf(home)).toEqual(['kept'])
    expect(filesIn(home)).toEqual(['kept.redb', 'kept.redb.nimbus-enc'])
  })
})

describe('a start on redb is refused, naming the file and touching nothing,', () => {
  const cases: [string, 'plain' | 'encrypted', (home: FileHome) => void, { code: string; path: string }][] = [
    [
      'for a plain file of SQLite',
      'plain',
      (home) =>
        writeFileSync(home.fileOf('bad'), Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(4080)])),
      { code: 'file_corrupt', path: 'bad.redb' },
    ],
  ]

  it.each(cases)('%s', async (_, mode, damage, { code, path: name }) => {
    const home = await makeRedbHome(mode)
    await makeTenants(home, 'good', 'bad')
    damage(home)
    const before = contentOf(home)
    expect(await rejectionOf(home.open())).toMatchObject({ code, path: path.join(home.directory, name) })
    expect(contentOf(home)).toEqual(before)
  })
})
