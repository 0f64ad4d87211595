/** Processes killed at every change of the disk, as crash.test.ts and its neighbours do it, with keys that a KMS wraps. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { rotateDek } from '../../src/encryption/rotate-dek.js'
import { rotateKek } from '../../src/encryption/rotate-kek.js'
import { NimbusError } from '../../src/errors.js'
import { type Ended, runChild } from '../support/child.js'
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

/** A place whose `keyFile` names a key of a KMS, as the children understand it. */
async function kmsPlace(kms: FakeKms, form: Form, alias = 'one'): Promise<Place> {
  kms.addKey(alias)
  const keyFile = `${kms.url} alias/${alias} ${FAKE_REGION}`
  const provider = await openKeys(keyFile)
  onTestFinished(() => provider.close())
  return { ...(await place(form)), keyFile, provider }
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

describe.each([SQLITE, REDB])('a process killed with keys from a KMS', (form) => {
  it(
    `while it rotates the DEK of ${form.fileName} loses no row`,
    async () => {
      const made = await kmsPlace(await FakeKms.start(), form)
      await (form === SQLITE ? madeDatabase(made) : madeKv(made))
      const read = (where: Place) => (form === SQLITE ? opened(where) : openedKv(where))
      const steps = await sweep(
        made,
        (where, killAt, moment) =>
          runChild(child('dek-rotator'), [where.keyFile, where.file, killAt, moment, 'rotate']),
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
    `in the life of ${form.fileName} leaves it whole, or nothing of it`,
    async () => {
      const made = await kmsPlace(await FakeKms.start(), form)
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

describe('a process killed with keys from a KMS', () => {
  it(
    'while it migrates is undone or finished by the next migration',
    async () => {
      const made = await kmsPlace(await FakeKms.start(), SQLITE)
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
      const kms = await FakeKms.start()
      const made = await kmsPlace(kms, SQLITE)
      const other = await kmsPlace(kms, SQLITE, 'two')
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
      expect(kms.requests).toContain('ReEncrypt')
    },
    TEST_MS,
  )
})
