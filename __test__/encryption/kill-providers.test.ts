/** Processes killed at every change of the disk, as crash.test.ts and its neighbours do it with a master key, with the other providers. */
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { rotateDek } from '../../src/encryption/rotate-dek.js'
import { rotateKek } from '../../src/encryption/rotate-kek.js'
import { NimbusError } from '../../src/errors.js'
import { describe as descriptorOf, keyFileName } from '../../src/keys/subject.js'
import { type Ended, runChild } from '../support/child.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'
import { openKeys } from './child/keys.js'
import { CONTENTS, contentsOfCopy, plainDatabase } from './copies.js'
import { madeDatabase, opened } from './database.js'
import type { Form } from './forms.js'
import { madeKv, openedKv } from './kv-database.js'
import { DEMO, type Place, REDB, SQLITE, madeFile, namesIn, place } from './setup.js'

const MOMENTS = ['inside', 'after'] as const
const TEST_MS = 240_000
const child = (name: string): URL => new URL(`./child/${name}.ts`, import.meta.url)

beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', FAKE_CREDENTIALS.id)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', FAKE_CREDENTIALS.secret)
})

/** A place whose `keyFile` names its keys as the children understand it. */
async function placeOf(keys: string, form: Form): Promise<Place> {
  const provider = await openKeys(keys)
  onTestFinished(() => provider.close())
  return { ...(await place(form)), keyFile: keys, provider }
}

interface Keys {
  readonly name: string
  /** Two of them: files go from the first to the second. */
  readonly two: () => Promise<[first: string, second: string]>
}

const PROVIDERS: readonly Keys[] = [
  {
    name: 'a KMS',
    two: async () => {
      const kms = await FakeKms.start()
      for (const alias of ['one', 'two']) kms.addKey(alias)
      return [`${kms.url} alias/one ${FAKE_REGION}`, `${kms.url} alias/two ${FAKE_REGION}`]
    },
  },
  { name: 'a key directory', two: async () => [keyDirectoryOf(), keyDirectoryOf()] },
]

/** A key for each of the files that these tests make. */
function keyDirectoryOf(): string {
  const directory = temporaryDirectory()
  for (const { subject } of [SQLITE, REDB])
    writeIn(directory, keyFileName(descriptorOf(subject)), randomBytes(32), 0o400)
  return `${directory}/`
}

async function copyOf(made: Place): Promise<Place> {
  const { directory, dataDir, file } = await place(made.form)
  for (const name of namesIn(made.dataDir)) copyFileSync(`${made.dataDir}/${name}`, `${dataDir}/${name}`)
  return { ...made, directory, dataDir, file }
}

/** Kills a process before its end at its first change of the disk, its second, and so on, until it has no more; says how many it has. */
async function sweep(
  made: Place,
  run: (where: Place, killAt: string, moment: string) => Promise<Ended>,
  settle: (where: Place) => Promise<void>,
): Promise<number> {
  for (let killAt = 1; ; killAt++) {
    for (const moment of MOMENTS) {
      const where = await copyOf(made)
      const { signal, stderr } = await run(where, String(killAt), moment)
      expect(stderr).toBe('')
      if (signal === null) return killAt - 1
      await settle(where)
    }
  }
}

const FILES = PROVIDERS.flatMap((keys) => [SQLITE, REDB].map((form) => ({ ...keys, form })))

describe.each(FILES)('a process killed with keys from $name, on $form.fileName,', ({ two, form }) => {
  it.each(['rotate', 'rotate-without-backup'])(
    'while it works as %s says loses no row',
    async (work) => {
      const [keys] = await two()
      const made = await placeOf(keys, form)
      await (form === SQLITE ? madeDatabase(made) : madeKv(made))
      const read = (where: Place) => (form === SQLITE ? opened(where) : openedKv(where))
      const steps = await sweep(
        made,
        (where, killAt, moment) => runChild(child('dek-rotator'), [where.keyFile, where.file, killAt, moment, work]),
        async (where) => {
          const { generation } = await read(where)
          const again = await rotateDek(where.file, form.subject, { provider: where.provider, skipBackup: true })
          expect(again).toEqual({ outcome: 'rotated' })
          expect(await read(where)).toEqual({ end: undefined, generation: generation + 1n })
        },
      )
      expect(steps).toBe(8)
    },
    TEST_MS,
  )

  it(
    'in its life leaves it whole, or nothing of it',
    async () => {
      const [keys] = await two()
      const made = await placeOf(keys, form)
      const steps = await sweep(
        made,
        (where, killAt, moment) => runChild(child('life'), [where.keyFile, where.file, killAt, moment, 'create']),
        async ({ dataDir, file, provider }) => {
          const found = existsSync(`${file}.nimbus-enc`)
            ? await checkProtected(file, form.subject, provider)
            : undefined
          if (found === undefined) expect(namesIn(dataDir)).toEqual([])
          else expect(readFileSync(file)).toEqual(form.dataOf(found.fileId))
          found?.dek.close()
        },
      )
      expect(steps).toBe(8 + form.sideFiles.length)
    },
    TEST_MS,
  )
})

describe.each(PROVIDERS)('a process killed with keys from $name', ({ two }) => {
  it(
    'while it migrates is undone or finished by the next migration',
    async () => {
      const [keys] = await two()
      const made = await placeOf(keys, SQLITE)
      await plainDatabase(made.file)
      const steps = await sweep(
        made,
        (where, killAt, moment) => runChild(child('migrator'), [where.keyFile, where.file, killAt, moment, '']),
        async ({ file, provider }) => {
          const options = { source: file, subject: DEMO, profile: 'sqlcipher-4', keys: provider } as const
          const again = await migrate({ ...options, validate: true, retireSource: true }).then(
            () => 'done',
            (error: unknown) => (error instanceof NimbusError ? error.code : String(error)),
          )
          expect(again).toMatch(/^(done|target_exists|data_missing)$/)
          const copy = await openProtected(`${file}.encrypted`, DEMO, provider)
          expect(await contentsOfCopy(copy.path, copy)).toEqual(CONTENTS)
          copy.dek.close()
        },
      )
      expect(steps).toBe(8)
    },
    TEST_MS,
  )

  it(
    'while it rotates the KEK from one key of it to another leaves each file under one of the two',
    async () => {
      const [keys, otherKeys] = await two()
      const [made, other] = [await placeOf(keys, SQLITE), await placeOf(otherKeys, SQLITE)]
      const file = await madeFile(made)
      file.dek.close()
      const steps = await sweep(
        made,
        (where, killAt, moment) =>
          runChild(child('kek-rotator'), [where.keyFile, other.keyFile, killAt, moment, where.file]),
        async (where) => {
          const rotation = { from: where.provider, to: other.provider, isDryRun: false }
          for await (const { outcome } of rotateKek([where.file], rotation)) {
            expect(outcome).toMatch(/^(rotated|skipped)$/)
          }
          const found = await checkProtected(where.file, DEMO, other.provider)
          expect(found?.manifest.state).toBe('active')
          found?.dek.close()
        },
      )
      expect(steps).toBe(1)
    },
    TEST_MS,
  )
})
