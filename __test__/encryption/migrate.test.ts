import { spawn } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { type MigrateOptions, migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { NimbusError } from '../../src/errors.js'
import { FileLock, SqliteStore } from '../../src/native.js'
import { mapBounded } from '../../src/encryption/bounded.js'
import { runChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { CONTENTS, contentsOfCopy, plainDatabase } from './copies.js'
import { DEMO, type Place, madeFile, namesIn, place } from './setup.js'

const MIGRATOR = new URL('./child/migrator.ts', import.meta.url)

/** A place with a plain database in it, and how it is migrated. */
async function plainPlace(): Promise<Place & { options: MigrateOptions; target: string }> {
  const where = await place()
  await plainDatabase(where.file)
  const options: MigrateOptions = {
    source: where.file,
    subject: DEMO,
    profile: 'sqlcipher-4',
    keys: where.provider,
    validate: true,
    retireSource: false,
  }
  return { ...where, options, target: `${where.file}.encrypted` }
}

const withoutLocks = (dataDir: string) => namesIn(dataDir).filter((name) => !/\.nimbus[-.]lock$/.test(name))

/** Renames the copy to the served name, as the operator does, and opens it as a server does. */
async function served({ dataDir, file, provider }: Place): Promise<unknown[]> {
  renameSync(`${file}.encrypted`, file)
  renameSync(`${file}.encrypted.nimbus-enc`, `${file}.nimbus-enc`)
  const opened = await checkProtected(file, DEMO, provider)
  if (opened === undefined) return expect.fail('it was taken for a left-over')
  try {
    return await contentsOfCopy(file, opened)
  } finally {
    opened.dek.close()
    expect(withoutLocks(dataDir)).toEqual(['demo.sqlite3', 'demo.sqlite3.nimbus-enc'])
  }
}

describe('a migrated database', () => {
  it('opens under the served name once it is renamed, and holds everything; the source is as it was', async () => {
    const where = await plainPlace()
    const before = readFileSync(where.file)
    const { outcome, undone, isSourceThere } = await migrate(where.options)
    expect({ outcome, undone, isSourceThere }).toEqual({ outcome: 'migrated', undone: false, isSourceThere: true })
    expect(readFileSync(where.file).equals(before)).toBe(true)
    expect(statSync(where.target).mode & 0o777).toBe(0o600)
    expect(readFileSync(where.target).includes('needle')).toBe(false)
    expect(await served(where)).toEqual(CONTENTS)
  })

  it('has no plaintext beside it when the source is retired', async () => {
    const where = await plainPlace()
    expect(await migrate({ ...where.options, retireSource: true })).toMatchObject({ isSourceThere: false })
    expect(withoutLocks(where.dataDir)).toEqual(['demo.sqlite3.encrypted', 'demo.sqlite3.encrypted.nimbus-enc'])
    expect(await served(where)).toEqual(CONTENTS)
  })

  it('holds what was only in the log of the source, which is not left to be replayed into it', async () => {
    const where = await plainPlace()
    const store = SqliteStore.open({ path: where.file, mode: 'open', exclusive: false })
    await store.write([{ sql: 'DELETE FROM notes WHERE rowid > 19000' }])
    const crashed = path.join(where.directory, 'crashed.sqlite3')
    for (const suffix of ['', '-wal']) copyFileSync(where.file + suffix, crashed + suffix)
    await store.close()
    await migrate({ ...where.options, source: crashed })
    expect(namesIn(where.directory).filter((name) => /-(wal|shm|journal)$/.test(name))).toEqual([])
    const { provider } = where
    const file = await openProtected(`${crashed}.encrypted`, DEMO, provider)
    expect(await contentsOfCopy(`${crashed}.encrypted`, file)).toEqual([19_000, ...CONTENTS.slice(1)])
    file.dek.close()
  })
})

describe('a migration is refused', () => {
  it.each([
    ['the target', (target: string) => target],
    ['its manifest', (target: string) => `${target}.nimbus-enc`],
    ['a log beside it', (target: string) => `${target}-wal`],
  ])('when %s exists, and touches nothing', async (what, nameOf) => {
    const where = await plainPlace()
    if (what === 'its manifest') await madeFile({ ...where, file: where.target })
    else writeFileSync(nameOf(where.target), 'somebody else')
    const before = readFileSync(nameOf(where.target))
    const error = await rejectionOf(migrate(where.options))
    expect(error.code).toBe('target_exists')
    expect(readFileSync(nameOf(where.target))).toEqual(before)
  })

  it('while somebody owns the file or its directory', async () => {
    const where = await plainPlace()
    for (const lock of [path.join(where.dataDir, '.nimbus.lock'), `${where.file}.nimbus-lock`]) {
      const held = FileLock.exclusive(lock)
      expect(await rejectionOf(migrate(where.options))).toMatchObject({ code: 'file_busy' })
      held.release()
    }
    expect(existsSync(where.target)).toBe(false)
  })

  it('while a process that knows nothing of nimbus has the database open', async () => {
    const where = await plainPlace()
    const holder = spawn('python3', ['-c', HOLD, where.file], { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => holder.on('close', resolve))
    await new Promise((resolve) => holder.stdout.once('data', resolve))
    const error = await rejectionOf(migrate(where.options))
    holder.stdin.end()
    await ended
    expect(error).toMatchObject({ code: 'file_busy', path: where.file })
    expect(withoutLocks(where.dataDir)).toEqual(['demo.sqlite3'])
    await migrate(where.options)
  })

  it('for what is not a plain database of that kind, or is missing, or is a cache', async () => {
    const where = await plainPlace()
    const refused = async (changed: Partial<MigrateOptions>) =>
      (await rejectionOf(migrate({ ...where.options, ...changed }))).code
    expect(await refused({ source: `${where.file}.none` })).toBe('data_missing')
    writeFileSync(`${where.file}.text`, 'this is not a database, and never was')
    expect(await refused({ source: `${where.file}.text` })).toBe('file_corrupt')
    expect(await refused({ target: where.file })).toBe('target_exists')
    expect(await refused({ subject: { family: 'libsql_cache', tenant: 'demo' } })).toBe('unsupported_for_provider')
    await migrate(where.options)
    expect(await refused({ source: where.target, target: `${where.file}.twice` })).toBe('target_exists')
    expect(
      withoutLocks(where.dataDir).filter((name) => name.includes('none.enc') || name.includes('text.enc')),
    ).toEqual([])
  })
})

/** A connection in WAL mode that does nothing: it holds a lock all the same. */
const HOLD = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("select count(*) from notes").fetchall()
print("open", flush=True)
sys.stdin.read()
`

describe('a migration that is told to stop', () => {
  it.each(['copying', 'checking'])('while %s takes its copy away, and the next one works', async (phase) => {
    const where = await plainPlace()
    const before = readFileSync(where.file)
    const controller = new AbortController()
    const reason = new Error('enough')
    const onProgress: MigrateOptions['onProgress'] = (_path, progress) => {
      if (progress.phase === phase) controller.abort(reason)
    }
    await expect(migrate({ ...where.options, signal: controller.signal, onProgress })).rejects.toBe(reason)
    expect(withoutLocks(where.dataDir)).toEqual(['demo.sqlite3'])
    expect(readFileSync(where.file).equals(before)).toBe(true)
    expect(await migrate(where.options)).toMatchObject({ outcome: 'migrated', undone: false })
  })
})

/** Every change of the disk that a migration makes itself, in order; the copy lies between the first two. */
const STEPS = [
  'manifest: creating',
  'manifest: active',
  'mark the source',
  'remove -journal',
  'remove -shm',
  'remove -wal',
  'remove the source',
  'remove the mark',
]

describe('a migration that is killed', () => {
  it('at any step or in the copy is undone or finished by the next one, and loses nothing', async () => {
    const original = await plainPlace()
    const steps = STEPS.flatMap((_, at) =>
      ['before', 'inside', 'after'].map((moment) => ({ killAt: at + 1, moment, phase: '' })),
    )
    const inside = ['copying', 'checking'].map((phase) => ({ killAt: 0, moment: 'before', phase }))
    const outcomes = await mapBounded([...steps, ...inside], 2, async ({ killAt, moment, phase }) => {
      const name = `${killAt}${moment}${phase}`
      const where = { ...original, dataDir: path.join(original.directory, name) }
      cpSync(original.dataDir, where.dataDir, { recursive: true })
      where.file = path.join(where.dataDir, 'demo.sqlite3')
      const once = await runChild(MIGRATOR, [where.keyFile, where.file, String(killAt), moment, phase])
      expect(once.stderr).toBe('')
      expect(once.signal, name).toBe('SIGKILL')
      // The plaintext goes only when the copy is served.
      if (!existsSync(where.file)) (await openProtected(`${where.file}.encrypted`, DEMO, where.provider)).dek.close()
      const again = await outcomeOf(migrate({ ...where.options, source: where.file, retireSource: true }))
      if (again === 'target_exists') {
        // Published, with the source whole beside it.
        expect(await contentsOfCopy(where.file)).toEqual(CONTENTS)
        const file = await openProtected(`${where.file}.encrypted`, DEMO, where.provider)
        expect(await contentsOfCopy(`${where.file}.encrypted`, file)).toEqual(CONTENTS)
        file.dek.close()
      } else {
        expect(await served(where), name).toEqual(CONTENTS)
      }
      return again
    })
    const count = (outcome: string) => outcomes.filter((one) => one === outcome).length
    expect({
      fresh: count('migrated'),
      undone: count('migrated undone'),
      published: count('target_exists'),
      finished: count('finished'),
      nothingLeft: count('data_missing'),
    }).toEqual({ fresh: 2, undone: 5, published: 3, finished: 15, nothingLeft: 1 })
  }, 120_000)
})

async function outcomeOf(migration: ReturnType<typeof migrate>): Promise<string> {
  return migration.then(
    ({ outcome, undone }) => `${outcome}${undone ? ' undone' : ''}`,
    (error: unknown) => (error instanceof NimbusError ? error.code : String(error)),
  )
}
