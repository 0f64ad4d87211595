import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { FORMS, REDB } from '../encryption/forms.js'
import { madeKv, openedKv } from '../encryption/kv-database.js'
import {
  newHome,
  runNimbus,
  spawnNimbus,
  startServer,
  type Environment,
  type Finished,
  type Home,
} from '../support/cli.js'
import { runChild } from '../support/child.js'
import { snapshot } from '../support/tree.js'

const DOCUMENTS = 20
const ROTATOR = new URL('../encryption/child/dek-rotator.ts', import.meta.url)

const argsOf = ({ dataDir }: Home): string[] => [
  'encryption',
  'rotate-dek',
  '--path',
  path.join(dataDir, 'demo.sqlite3'),
  '--provider',
  'sqlite',
  '--tenant-id',
  'demo',
]
const rotate = (home: Home, args: string[] = [], env: Environment = home.env): Promise<Finished> =>
  runNimbus([...argsOf(home), ...args], env)

async function homeWithTenant(): Promise<Home> {
  const home = newHome()
  const server = await startServer(home)
  await server.request('POST', '/api/tenants', { id: 'demo' })
  for (let number = 0; number < DOCUMENTS; number++) {
    const fields = { number, text: 'x'.repeat(4000) }
    await server.request('POST', '/api/tenants/demo/documents', { table: 'notes', fields })
  }
  await server.stop()
  return home
}

/** Starts a server, and expects every document. */
async function served(home: Home): Promise<void> {
  const server = await startServer(home)
  const page = await server.request('GET', '/api/tenants/demo/documents/notes?limit=100')
  const { data } = JSON.parse(page.text) as { data: { fields: { number: number } }[] }
  expect(data.map(({ fields }) => fields.number)).toEqual(Array.from({ length: DOCUMENTS }, (_, at) => at))
  await server.stop()
}

const status = async ({ env }: Home): Promise<number | null> => (await runNimbus(['encryption', 'status'], env)).code

describe('nimbus encryption rotate-dek', () => {
  it('rotates a file, says that its backup is under the old key, and the server serves it', async () => {
    const home = await homeWithTenant()
    const file = path.join(home.dataDir, 'demo.sqlite3')
    const { code, stdout, stderr } = await rotate(home, ['--format', 'json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toEqual({
      command: 'encryption rotate-dek',
      results: [
        { path: file, outcome: 'rotated', note: expect.stringContaining(`${file}.bak is still under`) as string },
      ],
    })
    await served(home)
    expect(await status(home)).toBe(0)
    // The documented way back.
    for (const suffix of ['-wal', '-shm', '-journal']) rmSync(file + suffix, { force: true })
    copyFileSync(`${file}.bak`, file)
    copyFileSync(`${file}.bak.nimbus-enc`, `${file}.nimbus-enc`)
    await served(home)
    expect(await status(home)).toBe(0)
  })

  it.each([
    ['4', 'undone'],
    ['5', 'finished'],
  ])(
    'interrupted after its change %s, is settled by the next start, which logs that it was %s',
    async (killAt, end) => {
      const home = await homeWithTenant()
      const file = path.join(home.dataDir, 'demo.sqlite3')
      const child = await runChild(ROTATOR, [home.keyFile, file, killAt, 'after', 'rotate'])
      expect(child.signal).toBe('SIGKILL')
      expect(await status(home)).toBe(5)
      const server = await startServer(home)
      expect((await server.stop()).stderr).toContain(`${file}: an interrupted change of its key was ${end}`)
      expect(await status(home)).toBe(0)
      await served(home)
    },
  )

  it('killed at any moment, is settled by the next start', async () => {
    const home = await homeWithTenant()
    for (let round = 0; round < 10; round++) {
      const run = spawnNimbus(argsOf(home), home.env)
      const timer = setTimeout(() => run.process.kill('SIGKILL'), 150 + round * 25)
      await run.finished
      clearTimeout(timer)
      await served(home)
      expect(await status(home)).toBe(0)
    }
  }, 120_000)

  it.each([[[]], [['--skip-backup']]])(
    'leaves the file as it was when the disk is full (%j), and works afterwards',
    async (args) => {
      const home = await homeWithTenant()
      const before = snapshot(home.dataDir)
      const limited = await spawnNimbus([...argsOf(home), ...args], home.env, ['prlimit', '--fsize=40000']).finished
      expect(limited.code, limited.stderr).toBe(1)
      expect(limited.stderr).toMatch(/^nimbus: .+\nhint: .+\n$/)
      expect(Object.keys(snapshot(home.dataDir))).toEqual(Object.keys(before))
      expect(await status(home)).toBe(0)
      await served(home)
      expect(await rotate(home, args)).toMatchObject({ code: 0 })
      await served(home)
      expect(existsSync(path.join(home.dataDir, 'demo.sqlite3.bak'))).toBe(args.length === 0)
    },
  )

  it.each([
    ['demo.redb', ['--tenant-id', 'demo'], ['prlimit', '--fsize=200000']],
    ['nimbus-control.db', [], ['prlimit', '--fsize=200000']],
  ])('rotates %s, and leaves it as it was when the disk is full', async (name, owner, limit) => {
    const home = newHome()
    const form = FORMS.find(({ fileName }) => fileName === name) ?? REDB
    const provider = await openMasterKeyFile(home.keyFile, [])
    const where = { form, provider, directory: home.dataDir, dataDir: home.dataDir, keyFile: home.keyFile }
    const file = path.join(home.dataDir, name)
    mkdirSync(home.dataDir, { recursive: true, mode: 0o700 })
    await madeKv({ ...where, file })
    const args = ['encryption', 'rotate-dek', '--path', file, '--provider', 'redb', ...owner]
    const before = snapshot(home.dataDir)
    const limited = await spawnNimbus(args, home.env, limit).finished
    expect(limited.code, limited.stderr).toBe(1)
    expect(limited.stderr).toMatch(/^nimbus: no space left.+\nhint: .+\n$/)
    expect(snapshot(home.dataDir)).toEqual(before)
    expect(await runNimbus(args, home.env)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('rotated') as string,
    })
    expect(await openedKv({ ...where, file })).toEqual({ end: undefined, generation: 2n })
    provider.close()
    expect(await status(home)).toBe(0)
  })

  it('is refused while a server owns the directory, naming its process', async () => {
    const home = await homeWithTenant()
    const server = await startServer(home)
    const refused = await rotate(home)
    expect(refused).toMatchObject({ code: 6, stdout: '' })
    expect(refused.stderr).toContain(`process ${String(server.process.pid)}`)
    await server.stop()
  })

  it('ends with the code of what is wrong, and changes nothing', async () => {
    const home = await homeWithTenant()
    const before = snapshot(home.dataDir)
    const file = path.join(home.dataDir, 'demo.sqlite3')
    const of = (...args: string[]): Promise<Finished> => runNimbus(['encryption', 'rotate-dek', ...args], home.env)
    expect(await of('--provider', 'sqlite', '--tenant-id', 'demo')).toMatchObject({ code: 2 })
    expect(await of('--path', file, '--provider', 'sqlite', '--tenant-id', 'other')).toMatchObject({ code: 5 })
    expect(await of('--path', file, '--provider', 'redb', '--tenant-id', 'demo')).toMatchObject({ code: 5 })
    const missing = await of('--path', `${file}x`, '--provider', 'sqlite', '--tenant-id', 'demo')
    expect(missing).toMatchObject({ code: 5, stderr: expect.stringContaining(`${file}x does not exist`) as string })
    expect(existsSync(`${file}x.nimbus-lock`)).toBe(false)
    expect(await rotate(home, [], {})).toMatchObject({ code: 2 })
    expect(snapshot(home.dataDir)).toEqual(before)
  })
})
