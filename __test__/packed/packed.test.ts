/** The package as npm would bring it: packed, installed in an empty folder, on every Node that it supports, under every ORM. */
import { execFile } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runSuite, suiteTests } from '../support/better-sqlite3-suite.js'
import { temporaryDirectory } from '../support/directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const here = fileURLToPath(new URL('.', import.meta.url))
const platform = `linux-${process.arch}`

const directory = mkdtempSync(join(tmpdir(), 'nimbus-packed-'))
/** An empty folder into which the tarballs were installed. */
const installed = join(directory, 'installed')
/** The ORMs and other releases of Node; the package is what was installed above. */
const packages = join(directory, 'packages')
/** The one that runs the tests, which is 20 in CI, and the others. */
const nodes = {
  22: join(packages, `node_modules/node-22-${process.arch}/bin/node`),
  24: join(packages, `node_modules/node-24-${process.arch}/bin/node`),
  [process.versions.node.split('.')[0] ?? '']: process.execPath,
}
let tarball = ''

beforeAll(async () => {
  tarball = await pack(root)
  mkdirSync(installed)
  await run('npm', ['install', ...quiet, tarball, await pack(platformPackage())], installed)
  cpSync(join(here, 'packages'), packages, { recursive: true })
  await run('npm', ['ci', ...quiet], packages)
  mkdirSync(join(packages, 'node_modules/@nimbus'))
  symlinkSync(join(installed, 'node_modules/@nimbus/storage'), join(packages, 'node_modules/@nimbus/storage'))
  cpSync(join(here, 'programs'), join(packages, 'programs'), { recursive: true })
}, 600_000)

afterAll(() => rmSync(directory, { recursive: true, force: true }), 120_000)

const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']

/** The package of the addon, as the release puts it together. */
function platformPackage(): string {
  const name = `${platform}-gnu`
  const folder = join(directory, name)
  cpSync(join(root, 'npm', name), folder, { recursive: true })
  copyFileSync(join(root, `nimbus.${name}.node`), join(folder, `nimbus.${name}.node`))
  return folder
}

async function pack(folder: string): Promise<string> {
  const said = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', directory, folder], root)
  const [{ filename } = { filename: '' }] = JSON.parse(said) as { filename: string }[]
  return join(directory, filename)
}

/** What the program printed; fails with what it complained of. */
async function run(program: string, values: string[], cwd: string, env: Record<string, string> = {}): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, values, { cwd, env: { ...process.env, ...env } })
    return stdout
  } catch (error) {
    const { message, stdout } = error as Error & { stdout: string }
    throw new Error(`${message}\n${stdout}`)
  }
}

describe.each(Object.entries(nodes))('on Node %s', (release, node) => {
  test('it is that release', async () => {
    expect(await run(node, ['--version'], installed)).toMatch(new RegExp(`^v${release}\\.`))
  })

  test.each(['import.mjs', 'require.cjs'])('an empty folder with the tarballs runs %s', async (program) => {
    copyFileSync(join(here, 'programs', program), join(installed, program))
    await run(node, [program, temporaryDirectory()], installed)
  })

  test.each([
    ['database.mjs', 'users in the backup 3'],
    ['store.mjs', 'before 2 now 3'],
  ])('the example %s runs', async (program, said) => {
    copyFileSync(join(root, 'examples/embedded', program), join(installed, program))
    expect(await run(node, [program, temporaryDirectory()], installed)).toContain(said)
  })

  test('the command runs', async () => {
    const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version
    expect(await run(node, ['node_modules/.bin/nimbus', '--version'], installed)).toContain(version)
  })
})

// The one that runs the tests runs them in `sqlite-library/better-sqlite3.test.ts`.
test.each(['22', '24'] as const)(
  'it passes the tests of better-sqlite3 on Node %s, encrypted',
  async (release) => {
    const entry = join(installed, 'node_modules/@nimbus/storage/dist/cjs/better-sqlite3.cjs')
    expect(await runSuite(nodes[release], entry, '07'.repeat(32))).toEqual({
      passes: suiteTests,
      failures: [],
      skipped: [],
    })
  },
  120_000,
)

test('nothing is in the tarball but what it is for', () => {
  const folder = join(installed, 'node_modules/@nimbus/storage')
  const names = readdirSync(folder).sort()
  expect(names).toEqual([
    'CHANGELOG.md',
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'SECURITY.md',
    'dist',
    'index.d.ts',
    'package.json',
  ])
})

test('its types are found by every way of resolving a module that knows `exports`', async () => {
  const program = join(packages, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  // All entries but the drop-in are ES modules only: `require` of them is an error before Node 22, and the types say so.
  const rules = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm']
  await run(process.execPath, [program, tarball, ...rules], packages)
})

describe('on an encrypted file, with relations, transactions, rollbacks and constraints', () => {
  beforeAll(async () => {
    const programs = join(packages, 'programs')
    // Generating needs no engine, but asks for one.
    const values = ['generate', '--schema', 'schema.prisma']
    const env = { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', PRISMA_HIDE_UPDATE_MESSAGE: '1', CHECKPOINT_DISABLE: '1' }
    await run(nodes[24], [join(packages, 'node_modules/prisma/build/index.js'), ...values], programs, env)
  }, 60_000)

  test.each(['kysely.mjs', 'drizzle.mjs', 'knex.mjs', 'typeorm.mjs', 'prisma.mts'])('%s', async (program) => {
    const file = join(temporaryDirectory(), 'app.sqlite3')
    // Node 24 for all: kysely wants 22, and what prisma generates is TypeScript.
    await run(nodes[24], [join(packages, 'programs', program), file], packages)
    const bytes = readFileSync(file)
    expect(bytes.subarray(0, 15).toString('latin1')).not.toBe('SQLite format 3')
    expect(bytes.includes('a secret title')).toBe(false)
    const check = join(packages, 'check.mjs')
    writeFileSync(check, readsTitles)
    const titles = await run(process.execPath, [check, file], packages)
    expect(JSON.parse(titles)).toEqual(['a secret title', 'another'])
  })
})

/** Reads whatever the ORM called its table and its column. */
const readsTitles = `
import { Database } from '@nimbus/storage'
const database = new Database(process.argv[2], { key: Buffer.alloc(32, 7), readonly: true })
const [table] = database.prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'post%' AND type = 'table'").pluck().all()
console.log(JSON.stringify(database.prepare('SELECT * FROM ' + table + ' ORDER BY id').raw().all().map((row) => row[1])))
`
