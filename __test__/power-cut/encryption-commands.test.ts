/**
 * Every `encryption` command that changes a directory, on a disk that loses its power at any moment: what was not synced may be
 * lost, names in any order. The record is of the real command; then the same command, or what a start does, meets every state.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { exportPlaintext } from '../../src/encryption/export.js'
import { migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { rotateDek } from '../../src/encryption/rotate-dek.js'
import { rotateKek } from '../../src/encryption/rotate-kek.js'
import { NimbusError } from '../../src/errors.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { sqlcipherProfile } from '../../src/keys/profile.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import type { FileSubject } from '../../src/keys/subject.js'
import { KvStore, SqliteStore } from '../../src/native.js'
import { madeDatabase, opened } from '../encryption/database.js'
import type { Form } from '../encryption/forms.js'
import { madeKv, openedKv } from '../encryption/kv-database.js'
import { DEMO, REDB, SQLITE, madeFile } from '../encryption/setup.js'
import { newHome, runNimbus } from '../support/cli.js'
import { writeIn } from '../support/directory.js'
import type { Recorded } from './disk.js'
import { type State, recordingOf } from './recording.js'

const ROWS = 60
const TEST_MS = 300_000

interface Place {
  readonly directory: string
  readonly dataDir: string
  readonly file: string
  readonly form: Form
  readonly provider: KeyProvider
  readonly keyFile: string
  /** Runs `nimbus encryption ...`, which must succeed. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<void>
  otherKey(): string
}

async function placeFor(form: Form): Promise<Place> {
  const home = newHome()
  mkdirSync(home.dataDir, { mode: 0o700 })
  return {
    directory: home.root,
    dataDir: home.dataDir,
    file: path.join(home.dataDir, form.fileName),
    form,
    keyFile: home.keyFile,
    provider: await providerOf(home.keyFile),
    run: async (args, env = {}) => {
      const { code, stderr } = await runNimbus(['encryption', ...args], { ...home.env, ...env })
      expect(code, stderr).toBe(0)
    },
    otherKey: () => writeIn(home.root, 'other.key', randomBytes(32), 0o400),
  }
}

async function providerOf(keyFile: string): Promise<KeyProvider> {
  const provider = await openMasterKeyFile(keyFile, [])
  onTestFinished(() => provider.close())
  return provider
}

/** Records one command. */
async function recorded({ dataDir, run }: Place, args: readonly string[]) {
  const recording = recordingOf(dataDir)
  await run(args, recording.env)
  return recording
}

const isSyncOfDirectory = ({ operation, path: synced }: Recorded): boolean =>
  operation === 'sync' && path.basename(synced) === 'data'

type Settle = (directory: string, state: State) => Promise<void>

/** The states that `settle` does not bring to a good end, or the first of them. */
async function losses(states: readonly State[], settle: Settle, most = Infinity): Promise<string[]> {
  const lost: string[] = []
  for (const state of states) {
    if (lost.length === most) break
    const directory = state.materialise()
    try {
      await settle(directory, state)
    } catch (error) {
      lost.push(`${state.after}: ${[...state.files.keys()].join(' ')}: ${String(error)}`)
    }
  }
  return lost
}

const made = (place: Place) => (place.form === SQLITE ? madeDatabase(place, ROWS) : madeKv(place, ROWS))
/** Starts as a server does, and reads every row. */
const readAll = (place: Place) => (place.form === SQLITE ? opened(place, ROWS) : openedKv(place, ROWS))

/** What a command was refused with. */
function codeOf(error: unknown): string {
  if (error instanceof NimbusError) return error.code
  throw error
}

const flagsOf = ({ form }: Place): string[] => [
  '--provider',
  form === SQLITE ? 'sqlite' : 'redb',
  '--tenant-id',
  'demo',
]

describe.each([SQLITE, REDB])('a power cut while rotate-dek rewrites $fileName', (form) => {
  it.each([
    { how: 'with a backup', flags: [] },
    { how: 'without one', flags: ['--skip-backup'] },
  ])(
    '$how loses no row and no key, nor the backup before',
    async ({ flags }) => {
      const place = await placeFor(form)
      await made(place)
      // The set of a rotation before, which the next one replaces.
      await place.run(['rotate-dek', '--path', place.file, ...flagsOf(place)])
      const recording = await recorded(place, ['rotate-dek', '--path', place.file, ...flagsOf(place), ...flags])
      const settle = async (directory: string, { isEnd }: State): Promise<void> => {
        const file = path.join(directory, form.fileName)
        const { generation } = await readAll({ ...place, file })
        if (isEnd) expect(generation).toBe(3n)
        const backup = await readAll({ ...place, file: `${file}.bak` })
        expect(backup.generation).toBe(generation === 3n && flags.length === 0 ? 2n : 1n)
        const next = await rotateDek(file, form.subject, { provider: place.provider, skipBackup: true })
        expect(next.outcome).toBe('rotated')
        expect((await readAll({ ...place, file })).generation).toBe(generation + 1n)
        expect(readdirSync(directory).filter((name) => /rotating|journal|[0-9a-f]{32}/.test(name))).toEqual([])
      }
      const states = recording.states()
      expect(states.length).toBeGreaterThan(20)
      expect(await losses(states, settle)).toEqual([])
      // It is the syncs of the directory that see to it.
      const careless = recording.states((record) => !isSyncOfDirectory(record))
      expect(await losses(careless, settle, 1)).not.toEqual([])
    },
    TEST_MS,
  )
})

describe('a power cut while rotate-dek throws a cache away', () => {
  it('never leaves a cache beside the key of another', async () => {
    const subject: FileSubject = { family: 'libsql_cache', tenant: 'demo' }
    const place = await placeFor({ ...SQLITE, subject })
    const cache = await madeFile(place)
    cache.dek.close()
    for (const suffix of ['-wal', '-info']) writeFileSync(place.file + suffix, 'of the primary')
    const args = ['rotate-dek', '--path', place.file, '--provider', 'libsql-cache', '--tenant-id', 'demo']
    const recording = await recorded(place, args)
    const settle = async (directory: string, { isEnd }: State): Promise<void> => {
      const file = path.join(directory, place.form.fileName)
      const generation = async (): Promise<bigint> => {
        const found = await openProtected(file, subject, place.provider)
        found.dek.close()
        return found.manifest.current.generation
      }
      const before = await generation()
      const isCacheThere = ['', '-wal', '-info'].some((suffix) => existsSync(file + suffix))
      if (before === 2n) expect(isCacheThere).toBe(false)
      if (isEnd) expect(before).toBe(2n)
      await rotateDek(file, subject, { provider: place.provider, skipBackup: true })
      expect(await generation()).toBe(before + 1n)
    }
    const states = recording.states()
    expect(states.length).toBeGreaterThan(4)
    expect(await losses(states, settle)).toEqual([])
    const careless = recording.states((record) => !isSyncOfDirectory(record))
    expect(await losses(careless, settle, 1)).not.toEqual([])
  })
})

describe.each([SQLITE, REDB])('a power cut while rotate-kek wraps the key of $fileName', (form) => {
  it('leaves it under the old key or the new one', async () => {
    const place = await placeFor(form)
    await made(place)
    const otherKey = place.otherKey()
    const to = await providerOf(otherKey)
    const recording = await recorded(place, ['rotate-kek', '--path', place.file, '--new-master-key-file', otherKey])
    const settle = async (directory: string, { isEnd }: State): Promise<void> => {
      const file = path.join(directory, form.fileName)
      for await (const { outcome, error } of rotateKek([file], { from: place.provider, to, isDryRun: false })) {
        if (isEnd) expect(outcome).toBe('skipped')
        expect(error).toBeUndefined()
      }
      await readAll({ ...place, file, provider: to })
    }
    const states = recording.states()
    expect(states.length).toBeGreaterThan(4)
    expect(await losses(states, settle)).toEqual([])
    const careless = recording.states((record) => record.operation !== 'sync')
    expect(await losses(careless, settle, 1)).not.toEqual([])
  })
})

/** A plain database, and whether a file holds all of it. */
const PLAIN = {
  sqlite: {
    async make(file: string): Promise<void> {
      const store = SqliteStore.open({ path: file, mode: 'create', exclusive: true })
      await store.write([
        { sql: 'CREATE TABLE notes (text TEXT)' },
        {
          sql: `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT ${ROWS})
                INSERT INTO notes SELECT 'note ' || x FROM n`,
        },
      ])
      await store.close()
    },
    async requireAll(file: string, provider?: KeyProvider): Promise<void> {
      const found = provider && (await openProtected(file, DEMO, provider))
      const encryption = found && {
        dek: found.dek,
        fileId: found.fileId,
        profile: sqlcipherProfile(found.profile),
      }
      const store = SqliteStore.open({ path: file, mode: 'open', exclusive: true, encryption })
      try {
        expect(store.get("SELECT count(*) FROM notes WHERE text = 'note ' || rowid", [])).toEqual([ROWS])
      } finally {
        await store.close()
        found?.dek.close()
      }
    },
  },
  redb: {
    async make(file: string): Promise<void> {
      const store = KvStore.open({ path: file, mode: 'create' })
      await store.write(
        Array.from({ length: ROWS }, (_, row) => ({
          table: 'rows',
          key: Buffer.from(String(row)),
          value: Buffer.alloc(500, row),
        })),
      )
      await store.close()
    },
    async requireAll(file: string, provider?: KeyProvider): Promise<void> {
      const found = provider && (await openProtected(file, REDB.subject, provider))
      const encryption = found && {
        dek: found.dek,
        fileId: found.fileId,
        generation: found.manifest.current.generation,
      }
      const store = KvStore.open({ path: file, mode: 'open', encryption })
      try {
        for (let row = 0; row < ROWS; row++) {
          expect(Buffer.alloc(500, row).equals(store.get('rows', Buffer.from(String(row))) ?? Buffer.alloc(0))).toBe(
            true,
          )
        }
      } finally {
        await store.close()
        found?.dek.close()
      }
    },
  },
}

describe.each([
  { form: SQLITE, kind: 'sqlite', profile: 'sqlcipher-4-sha256' },
  { form: REDB, kind: 'redb', profile: 'sealed-redb-1' },
] as const)('a power cut while a $kind database is copied', ({ form, kind, profile }) => {
  const { make, requireAll } = PLAIN[kind]

  it(
    'by migrate leaves the plaintext until the copy is sure to be there, and then none of it',
    async () => {
      const place = await placeFor(form)
      await make(place.file)
      const recording = await recorded(place, ['migrate', '--source', place.file, ...flagsOf(place), '--retire-source'])
      const settle = async (directory: string, { isEnd }: State): Promise<void> => {
        const source = path.join(directory, form.fileName)
        const target = `${source}.encrypted`
        if (isEnd)
          expect(readdirSync(directory).sort()).toEqual([path.basename(target), `${path.basename(target)}.nimbus-enc`])
        const options = {
          source,
          subject: form.subject,
          profile,
          keys: place.provider,
          validate: true,
          retireSource: true,
        }
        const outcome = await migrate(options).then(({ outcome }) => outcome, codeOf)
        // Published, with the source whole beside it; or the source is gone already.
        if (outcome === 'target_exists') await requireAll(source)
        else if (outcome !== 'data_missing') expect(outcome).toMatch(/^(migrated|finished)$/)
        await requireAll(target, place.provider)
      }
      const states = recording.states()
      expect(states.length).toBeGreaterThan(15)
      expect(await losses(states, settle)).toEqual([])
      const careless = recording.states((record) => !isSyncOfDirectory(record))
      expect(await losses(careless, settle, 1)).not.toEqual([])
    },
    TEST_MS,
  )

  it(
    'by export leaves the source, and the copy whole or not at all',
    async () => {
      const place = await placeFor(form)
      await made(place)
      const args = ['export', '--source', place.file, '--target', `${place.dataDir}/plain`, ...flagsOf(place)]
      const recording = await recorded(place, args)
      const settle = async (directory: string, { isEnd }: State): Promise<void> => {
        const file = path.join(directory, form.fileName)
        const target = path.join(directory, 'plain')
        if (isEnd) expect(existsSync(target)).toBe(true)
        const options = { source: file, target, subject: form.subject, keys: place.provider, validate: true }
        const outcome = await exportPlaintext(options).then(() => 'exported', codeOf)
        expect(outcome).toMatch(/^(exported|target_exists)$/)
        const back = { ...options, source: target, target: `${target}.again`, profile, retireSource: false }
        await migrate(back)
        await readAll({ ...place, file: back.target })
        await readAll({ ...place, file })
      }
      const states = recording.states()
      expect(states.length).toBeGreaterThan(4)
      expect(await losses(states, settle)).toEqual([])
      const careless = recording.states((record) => record.operation !== 'sync')
      expect(await losses(careless, settle, 1)).not.toEqual([])
    },
    TEST_MS,
  )
})
