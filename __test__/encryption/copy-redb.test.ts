import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { checkProtected } from '../../src/encryption/check.js'
import { exportPlaintext } from '../../src/encryption/export.js'
import { type MigrateOptions, migrate } from '../../src/encryption/migrate.js'
import { type Protected, openProtected } from '../../src/encryption/protect.js'
import { KvStore } from '../../src/native.js'
import { runChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { CONTROL_PLANE, type Place, REDB, namesIn, place } from './setup.js'

const MIGRATOR = new URL('./child/migrator.ts', import.meta.url)
const KEY = Buffer.from('key')
const SECRET = Buffer.from('a value that must not be seen')

async function plainPlace(form: typeof REDB): Promise<Place & { options: MigrateOptions; target: string }> {
  const where = await place(form)
  const store = KvStore.open({ path: where.file, mode: 'create' })
  const many = Array.from({ length: 2_000 }, (_, at) => ({ table: 'many', key: Buffer.from(`${at}`), value: SECRET }))
  await store.write([{ table: 'one', key: KEY, value: SECRET }, ...many])
  await store.close()
  const { subject, profile } = form
  const options = { source: where.file, subject, profile, keys: where.provider, validate: true, retireSource: false }
  return { ...where, options, target: `${where.file}.encrypted` }
}

async function contentsOf(path: string, file?: Protected): Promise<unknown[]> {
  const encryption = file && { dek: file.dek, fileId: file.fileId, generation: file.manifest.current.generation }
  const store = KvStore.open({ path, mode: 'open', encryption })
  const last = store.get('many', Buffer.from('1999'))
  const found = [store.get('one', KEY), last].map((value) => value && Buffer.from(value).toString())
  const { sound } = await store.check()
  await store.close()
  return [...found, sound]
}

const CONTENTS = [SECRET.toString(), SECRET.toString(), true]
const withoutLocks = (directory: string) => namesIn(directory).filter((name) => !/\.nimbus[-.]lock$/.test(name))

describe.each([REDB, CONTROL_PLANE])('$fileName', (form) => {
  it('is migrated, opens under its served name, and comes back as it was', async () => {
    const where = await plainPlace(form)
    const before = readFileSync(where.file)
    expect(await migrate(where.options)).toMatchObject({ outcome: 'migrated' })
    expect(readFileSync(where.file).equals(before)).toBe(true)
    expect(readFileSync(where.target).includes(SECRET)).toBe(false)
    expect(statSync(where.target).mode & 0o777).toBe(0o600)

    renameSync(where.target, where.file)
    renameSync(`${where.target}.nimbus-enc`, `${where.file}.nimbus-enc`)
    const file = await checkProtected(where.file, form.subject, where.provider)
    if (file === undefined) return expect.fail('it was taken for a left-over')
    expect(await contentsOf(where.file, file)).toEqual(CONTENTS)
    file.dek.close()

    const out = path.join(where.directory, 'out')
    mkdirSync(out)
    const target = path.join(out, form.fileName)
    const { subject } = form
    await exportPlaintext({ source: where.file, target, subject, keys: where.provider, validate: true })
    expect(statSync(target).mode & 0o777).toBe(0o600)
    expect(await contentsOf(target)).toEqual(CONTENTS)
    expect(withoutLocks(out)).toEqual([form.fileName])
  })
})

describe('a redb file', () => {
  it('is not migrated while somebody has it open, nor as SQLite, nor damaged; nothing is left at the target', async () => {
    const where = await plainPlace(REDB)
    const store = KvStore.open({ path: where.file, mode: 'open' })
    expect(await rejectionOf(migrate(where.options))).toMatchObject({ code: 'file_busy' })
    await store.close()
    const asSqlite = { subject: { family: 'sqlite_tenant', tenant: 'demo' }, profile: 'sqlcipher-4' } as const
    const mistaken = await rejectionOf(migrate({ ...where.options, ...asSqlite }))
    expect(mistaken).toMatchObject({ code: 'file_corrupt', remediation: 'Correct --provider.' })
    const bytes = readFileSync(where.file)
    for (let at = bytes.indexOf(SECRET); at !== -1; at = bytes.indexOf(SECRET, at + 1)) bytes.writeUInt8(0, at)
    writeFileSync(where.file, bytes)
    expect(await rejectionOf(migrate(where.options))).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(withoutLocks(where.dataDir)).toEqual(['demo.redb'])
  })

  it('whose migration is killed is there in plaintext or encrypted, and the next one goes on', async () => {
    const original = await plainPlace(REDB)
    // The steps of a migration that retires its source: manifest, manifest, mark, two side files, source, mark.
    const steps = [1, 2, 3, 4, 5, 6, 7].map((killAt) => ({ killAt, phase: '' }))
    const inside = ['copying', 'checking'].map((phase) => ({ killAt: 0, phase }))
    const outcomes = await mapBounded([...steps, ...inside], 2, async ({ killAt, phase }) => {
      const dataDir = path.join(original.directory, `${killAt}${phase}`)
      cpSync(original.dataDir, dataDir, { recursive: true })
      const source = path.join(dataDir, 'demo.redb')
      const child = await runChild(MIGRATOR, [original.keyFile, source, String(killAt), 'after', phase])
      expect(child).toMatchObject({ signal: 'SIGKILL', stderr: '' })
      const again = await migrate({ ...original.options, source, retireSource: true }).then(
        ({ outcome, undone }) => `${outcome}${undone ? ' undone' : ''}`,
        (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : 'unforeseen'),
      )
      if (existsSync(source)) expect(await contentsOf(source)).toEqual(CONTENTS)
      const file = await openProtected(`${source}.encrypted`, REDB.subject, original.provider)
      expect(await contentsOf(`${source}.encrypted`, file)).toEqual(CONTENTS)
      file.dek.close()
      return again
    })
    expect(outcomes).toEqual([
      'migrated undone',
      'target_exists',
      'finished',
      'finished',
      'finished',
      'finished',
      'data_missing',
      'migrated undone',
      'migrated undone',
    ])
  }, 60_000)
})
