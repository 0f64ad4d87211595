/** What a start refuses on local files of either kind, and what it leaves alone. */
import { copyFileSync, renameSync, truncateSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { rejectionOf } from '../support/failure.js'
import { writeIn } from '../support/directory.js'
import { type FileHome, KINDS, type Mode, makeFileHome } from './file-home.js'
import { contentOf, makeTenants, tenantsOf } from './file-tenants.js'

const MANIFEST = '.nimbus-enc'

describe.each(KINDS)('a start on %s is refused, naming the file and touching nothing,', (kind) => {
  const cases: [string, Mode, (home: FileHome) => void, code: string][] = [
    ['for a file without its manifest', 'encrypted', (home) => takeAway(home, MANIFEST), 'manifest_missing'],
    ['for a manifest without its file', 'encrypted', (home) => takeAway(home, ''), 'data_missing'],
    [
      "for another tenant's data under its manifest",
      'encrypted',
      (home) => copyFileSync(home.fileOf('good'), home.fileOf('bad')),
      'file_corrupt',
    ],
    ['for a file that was emptied', 'encrypted', (home) => truncateSync(home.fileOf('bad'), 0), 'file_corrupt'],
    ['for a plain file that was emptied', 'plain', (home) => truncateSync(home.fileOf('bad'), 0), 'file_corrupt'],
  ]

  it.each(cases)('%s', async (_, mode, damage, code) => {
    const home = await makeFileHome(kind, mode)
    await makeTenants(home, 'good', 'bad')
    damage(home)
    const before = contentOf(home)
    const failure = await rejectionOf(home.open())
    expect(failure).toMatchObject({ code, path: home.fileOf('bad') })
    expect(failure.message).toContain(home.fileOf('bad'))
    expect(contentOf(home)).toEqual(before)
  })

  it('with encrypted files while encryption is off, naming a manifest', async () => {
    const home = await makeFileHome(kind, 'encrypted')
    await makeTenants(home, 'demo')
    const before = contentOf(home)
    const failure = await rejectionOf(home.open({ keys: undefined }))
    expect(failure).toMatchObject({ code: 'encrypted_but_disabled', path: home.fileOf('demo') + MANIFEST })
    expect(contentOf(home)).toEqual(before)
  })

  it.each(['encrypted', 'plain'] as const)(
    'for ciphertext beside a stray mark of deletion, whose manifest is not there yet, %s',
    async (mode) => {
      const home = await makeFileHome(kind, 'encrypted')
      await makeTenants(home, 'bad')
      takeAway(home, MANIFEST)
      writeIn(home.directory, `${path.basename(home.fileOf('bad'))}.deleting`, '')
      const before = contentOf(home)
      const failure = await rejectionOf(home.open(mode === 'plain' ? { keys: undefined } : {}))
      expect(failure.code).toBe(mode === 'plain' ? 'file_corrupt' : 'manifest_missing')
      expect(contentOf(home)).toEqual(before)
      renameSync(path.join(home.directory, 'away'), home.fileOf('bad') + MANIFEST)
      expect(await tenantsOf(home)).toEqual(['bad'])
    },
  )
})

function takeAway(home: FileHome, suffix: string): void {
  renameSync(home.fileOf('bad') + suffix, path.join(home.directory, 'away'))
}
