import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { exportPlaintext } from '../../src/encryption/export.js'
import { migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { rotateDek } from '../../src/encryption/rotate-dek.js'
import { readFileStatus } from '../../src/encryption/status.js'
import { runChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { type Form, SQLITE } from './forms.js'
import { type Place, madeFile, namesIn, place } from './setup.js'

const ROTATOR = new URL('./child/dek-rotator.ts', import.meta.url)
const SUBJECT = { family: 'libsql_cache', tenant: 'demo' } as const
const CACHE: Form = { ...SQLITE, subject: SUBJECT }
/** What libSQL's client leaves beside the file that it was given. */
const SUFFIXES = ['', '-wal', '-shm', '-client_wal_index', '-info']
const MANIFEST = 'demo.sqlite3.nimbus-enc'

async function madeCache(): Promise<Place> {
  const where = await place(CACHE)
  const made = await madeFile(where)
  made.dek.close()
  for (const suffix of SUFFIXES.slice(1)) writeFileSync(where.file + suffix, 'of the primary')
  return where
}

async function generationOf({ file, provider }: Place): Promise<bigint> {
  const found = await openProtected(file, SUBJECT, provider)
  found.dek.close()
  return found.manifest.current.generation
}

describe('a rotation of the DEK of a libSQL cache', () => {
  it('removes the cache and all that its client keeps, and leaves a manifest with a key of its own', async () => {
    const where = await madeCache()
    const before = readFileSync(`${where.file}.nimbus-enc`)
    expect(await rotateDek(where.file, SUBJECT, { provider: where.provider, skipBackup: false })).toEqual({
      outcome: 'rotated',
    })
    expect(namesIn(where.dataDir)).toEqual([MANIFEST])
    expect(readFileSync(`${where.file}.nimbus-enc`)).not.toEqual(before)
    expect(await generationOf(where)).toBe(2n)
  })

  it('leaves what a start and status take for a cache to rebuild, not for a loss', async () => {
    const where = await madeCache()
    await rotateDek(where.file, SUBJECT, { provider: where.provider, skipBackup: false })
    const found = await checkProtected(where.file, SUBJECT, where.provider)
    expect(found?.manifest.state).toBe('active')
    found?.dek.close()
    expect(await readFileStatus(where.file)).toMatchObject({
      state: 'encrypted',
      note: expect.stringContaining('rebuilt') as string,
    })
    // Any other file whose data is missing is an error still.
    const other = await place(SQLITE)
    const made = await madeFile(other)
    made.dek.close()
    rmSync(other.file)
    expect(await rejectionOf(checkProtected(other.file, SQLITE.subject, other.provider))).toMatchObject({
      code: 'data_missing',
    })
  })

  it('killed at any change never leaves a file of the old key beside a manifest of the new, and the next command goes on', async () => {
    // One removal for each file and its journal, then the manifest.
    for (let killAt = 1; killAt <= 7; killAt++) {
      const where = await madeCache()
      const child = await runChild(ROTATOR, [where.keyFile, where.file, String(killAt), 'after', 'rotate-cache'])
      expect(child).toMatchObject({ signal: 'SIGKILL', stderr: '' })
      const generation = await generationOf(where)
      expect(generation).toBe(killAt === 7 ? 2n : 1n)
      if (generation === 2n) expect(SUFFIXES.filter((suffix) => existsSync(where.file + suffix))).toEqual([])
      await rotateDek(where.file, SUBJECT, { provider: where.provider, skipBackup: false })
      expect(namesIn(where.dataDir)).toEqual([MANIFEST])
      expect(await generationOf(where)).toBe(generation + 1n)
    }
  }, 60_000)

  it('is all there is for a cache: migrate and export refuse it and say why', async () => {
    const where = await madeCache()
    const options = { source: where.file, subject: SUBJECT, keys: where.provider, validate: true }
    const migrating = await rejectionOf(migrate({ ...options, profile: 'sqlcipher-4', retireSource: false }))
    const exporting = await rejectionOf(exportPlaintext({ ...options, target: `${where.file}.plain` }))
    for (const error of [migrating, exporting]) {
      expect(error).toMatchObject({ code: 'unsupported_for_provider' })
      expect(error.message).toContain('rebuilt from the remote primary')
    }
  })
})
