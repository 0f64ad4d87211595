import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { type ExportOptions, exportPlaintext } from '../../src/encryption/export.js'
import { migrate } from '../../src/encryption/migrate.js'
import { FileLock } from '../../src/native.js'
import { runChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { CONTENTS, contentsOfCopy, plainDatabase } from './copies.js'
import { DEMO, type Place, namesIn, otherProvider, place } from './setup.js'

const EXPORTER = new URL('./child/exporter.ts', import.meta.url)

/** A place with an encrypted database in it, and how it is exported. */
async function encryptedPlace(): Promise<Place & { options: ExportOptions; target: string }> {
  const where = await place()
  const plain = path.join(where.directory, 'plain')
  await plainDatabase(plain)
  const keys = where.provider
  const common = { subject: DEMO, keys, validate: true }
  await migrate({ ...common, source: plain, target: where.file, profile: 'sqlcipher-4', retireSource: true })
  const out = path.join(where.directory, 'out')
  mkdirSync(out)
  const target = path.join(out, 'demo.sqlite3')
  return { ...where, target, options: { ...common, source: where.file, target } }
}

const leftIn = (target: string) => namesIn(path.dirname(target)).filter((name) => !/\.nimbus[-.]lock$/.test(name))

describe('an exported database', () => {
  it('holds everything in plaintext, for its owner only; the source is as it was', async () => {
    const where = await encryptedPlace()
    const before = readFileSync(where.file)
    expect(await exportPlaintext(where.options)).toMatchObject({ target: where.target, undone: false })
    expect(statSync(where.target).mode & 0o777).toBe(0o600)
    expect(readFileSync(where.target).subarray(0, 15).toString()).toBe('SQLite format 3')
    expect(await contentsOfCopy(where.target)).toEqual(CONTENTS)
    expect(leftIn(where.target)).toEqual(['demo.sqlite3'])
    expect(readFileSync(where.file).equals(before)).toBe(true)
  })
})

describe('an export is refused', () => {
  it.each(['', '.nimbus-enc', '-wal'])('when the target%s exists, and touches nothing', async (suffix) => {
    const where = await encryptedPlace()
    writeFileSync(where.target + suffix, 'somebody else')
    expect(await rejectionOf(exportPlaintext(where.options))).toMatchObject({ code: 'target_exists' })
    expect(readFileSync(where.target + suffix, 'utf8')).toBe('somebody else')
    expect(leftIn(where.target)).toEqual([`demo.sqlite3${suffix}`])
  })

  it('without the manifest, without the key, with another one, and while somebody owns the file', async () => {
    const where = await encryptedPlace()
    const refused = async (changed: Partial<ExportOptions> = {}) =>
      (await rejectionOf(exportPlaintext({ ...where.options, ...changed }))).code
    expect(await refused({ keys: await otherProvider(where) })).toBe('key_wrong')
    expect(await refused({ subject: { family: 'sqlite_tenant', tenant: 'other' } })).toBe('manifest_mismatch')
    expect(await refused({ subject: { family: 'libsql_cache', tenant: 'demo' } })).toBe('unsupported_for_provider')
    const lock = FileLock.exclusive(`${where.file}.nimbus-lock`)
    expect(await refused()).toBe('file_busy')
    lock.release()
    rmSync(`${where.file}.nimbus-enc`)
    expect(await refused()).toBe('manifest_missing')
    expect(leftIn(where.target)).toEqual([])
  })

  it('at the first page that does not authenticate, leaving nothing in plaintext', async () => {
    const where = await encryptedPlace()
    const bytes = readFileSync(where.file)
    const middle = Math.floor(bytes.length / 8192) * 4096 + 100
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle)
    writeFileSync(where.file, bytes)
    for (const validate of [true, false]) {
      const error = await rejectionOf(exportPlaintext({ ...where.options, validate }))
      expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
      expect(leftIn(where.target)).toEqual([])
    }
  })
})

describe('an export that does not come to its end', () => {
  it.each(['copying', 'checking'])('because it is told to stop while %s leaves nothing', async (phase) => {
    const where = await encryptedPlace()
    const controller = new AbortController()
    const onProgress: ExportOptions['onProgress'] = (_path, progress) => {
      if (progress.phase === phase) controller.abort(new Error('enough'))
    }
    await expect(exportPlaintext({ ...where.options, signal: controller.signal, onProgress })).rejects.toThrow('enough')
    expect(leftIn(where.target)).toEqual([])
  })

  it('because it is killed never leaves a target in part, and the next one clears up', async () => {
    const where = await encryptedPlace()
    await mapBounded(['copying', 'checking', 'before', 'after'], 2, async (moment) => {
      const source = path.join(where.directory, `${moment}.sqlite3`)
      for (const suffix of ['', '.nimbus-enc']) copyFileSync(where.file + suffix, source + suffix)
      const target = `${where.target}.${moment}`
      expect(await runChild(EXPORTER, [where.keyFile, source, target, moment])).toMatchObject({
        signal: 'SIGKILL',
        stderr: '',
      })
      expect(existsSync(target)).toBe(moment === 'after')
      if (moment !== 'after') {
        expect(statSync(`${target}.exporting`).mode & 0o777).toBe(0o600)
        expect(await exportPlaintext({ ...where.options, source, target })).toMatchObject({ undone: true })
      }
      expect(await contentsOfCopy(target)).toEqual(CONTENTS)
    })
    expect(leftIn(where.target)).toEqual(
      ['after', 'before', 'checking', 'copying'].map((name) => `demo.sqlite3.${name}`),
    )
  }, 60_000)
})
