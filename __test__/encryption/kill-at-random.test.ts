/** Processes killed at random instants, however far they are; rotations have such a test beside their others. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { checkProtected } from '../../src/encryption/check.js'
import { exportPlaintext } from '../../src/encryption/export.js'
import { migrate } from '../../src/encryption/migrate.js'
import { openProtected } from '../../src/encryption/protect.js'
import { NimbusError } from '../../src/errors.js'
import { ended, startChild } from '../support/child.js'
import { INSTANTS, INSTANTS_MS } from '../support/instants.js'
import { CONTENTS, contentsOfCopy, plainDatabase } from './copies.js'
import { madeDatabase, opened } from './database.js'
import { DEMO, type Place, REDB, SQLITE, namesIn, place } from './setup.js'

const CHILDREN = 2
const URL_OF = (name: string): URL => new URL(`./child/${name}.ts`, import.meta.url)

/** Kills a process, each time on a copy of the place, somewhere between its first word and its end; `settle` looks at what is left. */
async function killed(
  made: Place,
  script: URL,
  argumentsFor: (where: Place) => string[],
  settle: (where: Place) => Promise<void>,
): Promise<void> {
  const copy = (name: string): Place => {
    const dataDir = path.join(made.directory, name)
    mkdirSync(dataDir)
    cpSync(made.dataDir, dataDir, { recursive: true })
    return { ...made, dataDir, file: path.join(dataDir, made.form.fileName) }
  }
  const run = async (where: Place, delayMs: number | undefined): Promise<number> => {
    const child = startChild(script, argumentsFor(where))
    let begunAt = 0
    child.stdout?.once('data', () => {
      begunAt = performance.now()
      if (delayMs !== undefined) setTimeout(() => child.kill('SIGKILL'), delayMs)
    })
    const { status, stderr } = await ended(child)
    expect({ status, stderr }).toEqual({ status: delayMs === undefined ? 0 : (status ?? null), stderr: '' })
    return performance.now() - begunAt
  }
  const wholeMs = await run(copy('whole'), undefined)
  const instants = Array.from({ length: INSTANTS }, () => Math.random() * wholeMs)
  const failures = await mapBounded(instants, CHILDREN, async (delayMs) => {
    const where = copy(`killed after ${delayMs} ms`)
    await run(where, delayMs)
    try {
      await settle(where)
      rmSync(where.dataDir, { recursive: true })
      return undefined
    } catch (error) {
      return `${delayMs} ms: ${String(error)}`
    }
  })
  expect(failures.filter((failure) => failure !== undefined)).toEqual([])
}

function codeOf(error: unknown): string {
  if (error instanceof NimbusError) return error.code
  throw error
}

describe('a process killed at a random instant', () => {
  it(
    'of a migration leaves the source, or a whole copy that the next one knows',
    async () => {
      const made = await place()
      await plainDatabase(made.file)
      await killed(
        made,
        URL_OF('migrator'),
        ({ keyFile, file }) => [keyFile, file, '0', 'before', ''],
        async ({ file, provider }) => {
          const options = { source: file, subject: DEMO, profile: 'sqlcipher-4', keys: provider } as const
          const again = await migrate({ ...options, validate: true, retireSource: true }).then(() => 'done', codeOf)
          expect(again).toMatch(/^(done|target_exists|data_missing)$/)
          if (again === 'target_exists') expect(await contentsOfCopy(file)).toEqual(CONTENTS)
          const copy = await openProtected(`${file}.encrypted`, DEMO, provider)
          expect(await contentsOfCopy(copy.path, copy)).toEqual(CONTENTS)
          copy.dek.close()
        },
      )
    },
    INSTANTS_MS,
  )

  it(
    'of an export leaves the source, and the target whole or not at all',
    async () => {
      const made = await place()
      await madeDatabase(made)
      await killed(
        made,
        URL_OF('exporter'),
        ({ keyFile, file }) => [keyFile, file, `${file}.plain`, ''],
        async ({ file, provider }) => {
          const options = { source: file, target: `${file}.plain`, subject: DEMO, keys: provider, validate: true }
          expect(await exportPlaintext(options).then(() => 'done', codeOf)).toMatch(/^(done|target_exists)$/)
          const back = { source: options.target, target: `${file}.again`, subject: DEMO, keys: provider }
          await migrate({ ...back, profile: 'sqlcipher-4-sha256', validate: true, retireSource: false })
          await opened({ file: back.target, provider })
          await opened({ file, provider })
        },
      )
    },
    INSTANTS_MS,
  )

  it.each([SQLITE, REDB])(
    'of the life of $fileName leaves it whole, or nothing of it',
    async (form) => {
      await killed(
        await place(form),
        URL_OF('life'),
        ({ keyFile, file }) => [keyFile, file, '0', 'before', 'create'],
        async ({ dataDir, file, provider }) => {
          const found = existsSync(`${file}.nimbus-enc`)
            ? await checkProtected(file, form.subject, provider)
            : undefined
          if (found === undefined) expect(namesIn(dataDir)).toEqual([])
          else expect(readFileSync(file)).toEqual(form.dataOf(found.fileId))
          found?.dek.close()
        },
      )
    },
    INSTANTS_MS,
  )
})
