import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readDirectoryStatus } from '../../src/encryption/directory.js'
import { BackgroundVerification } from '../../src/server/verification.js'
import { openControlPlane } from '../control/open.js'
import { madeFile, place } from '../encryption/setup.js'
import { type Home, type Server, newHome, plainEnv, runNimbus, spawnNimbus, startServer } from '../support/cli.js'
import { temporaryDirectory } from '../support/directory.js'
import { type Answer, requestJson } from '../support/http.js'
import { MemoryTenants } from '../support/memory-tenants.js'

const ROUTE = '/debug/encryption/verify'
const FASTEST = `${ROUTE}?bytes_per_second=1000000000`
const SLOWEST = `${ROUTE}?bytes_per_second=65536`
/** Of a sealed redb file: behind two superblocks, 512 blocks of the ring and the first entries (docs/format.md 10.2). */
const FIRST_PAGE = 2 + 512 + 1
const PAGE = 4096

interface Result {
  readonly path: string
  readonly outcome: string
  readonly damaged_pages?: readonly number[]
  readonly note?: string
}

interface State {
  readonly run: number
  readonly state: string
  readonly started_at: string
  readonly ended_at: string | null
  readonly directories: readonly string[]
  readonly files: number
  readonly files_done: number
  readonly failures: number
  readonly current: { readonly path: string; readonly done_bytes: number; readonly total_bytes: number } | null
  readonly results: readonly Result[]
}

interface Entry {
  readonly path: string
  readonly verified_at: string | null
  readonly note?: string
}

const stateIn = ({ text }: Answer): State => JSON.parse(text) as State

const stateOf = async (server: Server): Promise<State> => stateIn(await server.request('GET', ROUTE))

async function entryOf(server: Server, file: string): Promise<Entry | undefined> {
  const { text } = await server.request('GET', '/debug/encryption/status')
  const { files } = JSON.parse(text) as { files: Entry[] }
  return files.find((entry) => entry.path === file)
}

/** Begins a run, and asks until it has ended. */
async function verified(server: Server): Promise<State> {
  const begun = await server.request('POST', FASTEST)
  expect(begun.status).toBe(202)
  for (;;) {
    const state = await stateOf(server)
    if (state.state !== 'running') return state
  }
}

async function fill(server: Server, tenant: string, documents = 40): Promise<void> {
  expect((await server.request('POST', '/api/tenants', { id: tenant })).status).toBe(201)
  await write(server, tenant, documents)
}

async function write(server: Server, tenant: string, documents: number): Promise<void> {
  const operations = Array.from({ length: documents }, (_, at) => ({
    op: 'insert',
    table: 'notes',
    fields: { text: `${at} `.repeat(2_000) },
  }))
  const answer = await server.request('POST', `/api/tenants/${tenant}/transaction`, { operations })
  expect(answer.status).toBe(200)
}

const fileOf = (home: Home, provider: string, tenant: string): string =>
  path.join(home.dataDir, `${tenant}.${provider === 'sqlite' ? 'sqlite3' : 'redb'}`)

/** In place, as a disk would: the server has the file open. */
function flip(file: string, offset: number): void {
  const descriptor = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(descriptor, byte, 0, 1, offset)
  byte.writeUInt8(byte.readUInt8(0) ^ 1)
  writeSync(descriptor, byte, 0, 1, offset)
  closeSync(descriptor)
}

/** Where a page in the midst of the file lies, and its number. */
function somePage(file: string, provider: string): { page: number; offset: number } {
  const blocks = statSync(file).size / PAGE
  if (provider === 'sqlite') {
    const page = Math.floor(blocks / 2)
    return { page, offset: (page - 1) * PAGE + 500 }
  }
  // Of the first group, behind the ring and the meta block, the last page that holds something.
  const bytes = readFileSync(file)
  const isUsed = (page: number): boolean =>
    bytes.subarray((FIRST_PAGE + page) * PAGE, (FIRST_PAGE + 1 + page) * PAGE).some((byte) => byte !== 0)
  const page = Array.from({ length: 100 }, (_, at) => 100 - at).find(isUsed)
  if (page === undefined) return expect.fail('no page')
  return { page, offset: (FIRST_PAGE + page) * PAGE + 500 }
}

describe.each(['sqlite', 'redb'])('a server of %s tenants', (provider) => {
  const args = ['--tenant-provider', provider]

  /** Two tenants, all of whose documents are in the data files. */
  async function home(): Promise<{ home: Home; server: Server }> {
    const where = newHome()
    const first = await startServer(where, args)
    await fill(first, 'one')
    await fill(first, 'two')
    await first.stop()
    const server = await startServer(where, args)
    for (const tenant of ['one', 'two']) await list(server, tenant)
    return { home: where, server }
  }

  const list = (server: Server, tenant: string): Promise<Answer> =>
    server.request('GET', `/api/tenants/${tenant}/documents/notes?limit=1000`)

  it('verifies every file that it serves, and every backup, and remembers when', async () => {
    const { home: where, server } = await home()
    const [one, two] = [fileOf(where, provider, 'one'), fileOf(where, provider, 'two')]
    const copy = `${one}.bak`
    copyFileSync(`${one}.nimbus-enc`, `${copy}.nimbus-enc`)
    copyFileSync(one, copy)
    expect((await entryOf(server, one))?.verified_at).toBeNull()
    const before = new Date().toISOString()
    const state = await verified(server)
    const control = path.join(where.dataDir, 'nimbus-control.db')
    expect(state).toMatchObject({ run: 1, state: 'done', files: 4, files_done: 4, failures: 0, current: null })
    expect(state.results.map((result) => [result.path, result.outcome])).toEqual(
      [one, copy, two, control].map((file) => [file, 'sound']),
    )
    for (const file of [one, two, control]) {
      const entry = await entryOf(server, file)
      expect((entry?.verified_at ?? '') > before).toBe(true)
      expect(entry?.note).toBeUndefined()
    }
    expect(await entryOf(server, copy)).toMatchObject({ verified_at: null })
    const kept = (await entryOf(server, one))?.verified_at
    await server.stop()
    const next = await startServer(where, args)
    expect((await entryOf(next, one))?.verified_at).toBe(kept)
    expect(await stateOf(next)).toMatchObject({ run: 0, state: 'none', results: [] })
    await next.stop()
  })

  it('names a damaged page of an open tenant, in the results, the status and the events, and serves the others', async () => {
    const { home: where, server } = await home()
    await verified(server)
    const one = fileOf(where, provider, 'one')
    const verifiedAt = (await entryOf(server, one))?.verified_at
    const { page, offset } = somePage(one, provider)
    flip(one, offset)
    const state = await verified(server)
    expect(state).toMatchObject({ run: 2, failures: 1 })
    expect(state.results.filter(({ outcome }) => outcome !== 'sound')).toMatchObject([
      { path: one, outcome: 'damaged', damaged_pages: [page] },
    ])
    expect(await entryOf(server, one)).toMatchObject({ verified_at: verifiedAt, note: `page ${page} lost` })
    const events = await server.request('GET', '/debug/encryption/events?limit=1')
    const subject = `db:${provider}:tenant:one:${path.basename(one)}`
    expect(events.body.data).toMatchObject([{ event: 'defect_found', subject, note: `page ${page} lost` }])
    expect((await list(server, 'two')).status).toBe(200)
    await write(server, 'two', 1)

    const told = await runNimbus(['encryption', 'verify', '--path', where.dataDir, '--url', server.url], where.env)
    expect(told).toMatchObject({
      code: 5,
      stdout: expect.stringContaining(`damaged: ${one}\n  page ${page} lost`) as string,
    })
    expect(told.stdout).toContain(`sound: ${fileOf(where, provider, 'two')}\n`)

    flip(one, offset)
    expect(await verified(server)).toMatchObject({ failures: 0 })
    expect((await entryOf(server, one))?.note).toBeUndefined()
    await server.stop()
  })

  it('finds a tenant sound that is written, folded and grown meanwhile, every time', async () => {
    const { server } = await home()
    const writing = new AbortController()
    const writer = (async () => {
      while (!writing.signal.aborted) await write(server, 'one', 20)
    })()
    for (let run = 1; run <= 12; run++) {
      const state = await verified(server)
      expect(state.results.filter(({ outcome }) => outcome !== 'sound')).toEqual([])
    }
    writing.abort()
    await writer
    expect((await server.stop()).code).toBe(0)
  })

  it('has one run at a time, says how far it is, and stops with it', async () => {
    const { home: where, server } = await home()
    const first = stateIn(await server.request('POST', SLOWEST))
    expect(first).toMatchObject({ run: 1, state: 'running', ended_at: null, directories: [where.dataDir] })
    let state = await stateOf(server)
    while (state.current === null) state = await stateOf(server)
    expect(state.current.path).toBe(fileOf(where, provider, 'one'))
    expect(state.current.total_bytes).toBeGreaterThan(100_000)
    const again = stateIn(await server.request('POST', FASTEST))
    expect(again).toMatchObject({ run: 1, state: 'running', started_at: first.started_at })
    const stopped = await server.stop()
    expect(stopped).toMatchObject({ code: 0, signal: null })
    const next = await startServer(where, args)
    expect((await entryOf(next, fileOf(where, provider, 'one')))?.verified_at).toBeNull()
    await next.stop()
  })

  it('deletes a tenant without waiting for its verification, and verifies a tenant that nobody has used', async () => {
    const { home: where, server } = await home()
    await server.request('POST', SLOWEST)
    while ((await stateOf(server)).current === null);
    expect((await server.request('DELETE', '/api/tenants/one')).status).toBe(204)
    let state = await stateOf(server)
    while (state.current?.path !== fileOf(where, provider, 'two')) state = await stateOf(server)
    expect(state).toMatchObject({ results: [], files_done: 1 })
    await server.stop()
    const next = await startServer(where, args)
    const { results } = await verified(next)
    expect(results.map((result) => path.basename(result.path))).toEqual([
      path.basename(fileOf(where, provider, 'two')),
      'nimbus-control.db',
    ])
    // It was opened for the verification alone.
    const isClosed = async () => (await next.request('GET', '/metrics')).text.includes('\nnimbus_open_tenants 0\n')
    while (!(await isClosed()));
    await next.stop()
  })
})

describe('a verification that meets a failure of its own', () => {
  it('goes on with the other files if the control plane cannot be written, and says so in the log', async () => {
    const where = await place()
    const keys = where.provider
    for (const tenant of ['one', 'two']) {
      const file = path.join(where.dataDir, `${tenant}.sqlite3`)
      const form = { ...where.form, subject: { family: 'sqlite_tenant', tenant } as const }
      ;(await madeFile({ provider: keys, file, form })).dek.close()
    }
    const directories = [{ path: where.dataDir, holds: 'tenants' }] as const
    const control = await openControlPlane({ directory: temporaryDirectory(), keys })
    await control.files.observe(await readDirectoryStatus(directories, 'encrypted'), new Set())
    await control.close()
    const warnings: string[] = []
    const warn = (what: string) => void warnings.push(what)
    const verification = new BackgroundVerification({ tenants: new MemoryTenants(), control, keys, directories, warn })
    verification.begin(1_000_000_000)
    while (verification.state(0).state === 'running') await setImmediate()
    expect(verification.state(0)).toMatchObject({ state: 'done', files_done: 2, failures: 0 })
    expect(warnings).toHaveLength(2)
    expect(warnings[0]).toContain('one.sqlite3: its verification could not be recorded')
    await verification.stop()
  })

  it('has not come to its end if there is nothing where the databases should be', async () => {
    const where = await place()
    const keys = where.provider
    const control = await openControlPlane({ directory: temporaryDirectory(), keys })
    onTestFinished(() => control.close())
    const gone = temporaryDirectory()
    const warnings: string[] = []
    const warn = (what: string) => void warnings.push(what)
    const directories = [{ path: gone, holds: 'tenants' }] as const
    const verification = new BackgroundVerification({ tenants: new MemoryTenants(), control, keys, directories, warn })
    rmSync(gone, { recursive: true })
    verification.begin(1_000_000_000)
    while (verification.state(0).state === 'running') await setImmediate()
    expect(verification.state(0)).toMatchObject({ state: 'stopped', files: 0 })
    expect(warnings).toEqual([expect.stringContaining('the verification ended early: there is no database in')])
  })
})

describe('the route', () => {
  it('is for the admin alone, and has nothing to do for a server without encryption', async () => {
    const where = newHome()
    const server = await startServer(where)
    const made = await server.request('POST', '/api/tokens', { name: 'x', tenants: ['*'], access: 'write' })
    for (const method of ['GET', 'POST']) {
      expect((await requestJson(server.url + ROUTE, made.body.token, method)).status).toBe(403)
      expect((await requestJson(server.url + ROUTE, 'wrong', method)).status).toBe(401)
    }
    for (const query of ['?bytes_per_second=1', '?bytes_per_second=x', '?rate=1']) {
      expect((await server.request('POST', ROUTE + query)).status).toBe(400)
    }
    await server.stop()
    const other = newHome()
    const plain = await startServer(other, [], plainEnv(other))
    const refused = await plain.request('POST', ROUTE)
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'encryption_not_configured' } } })
    await plain.stop()
  })
})

describe('nimbus encryption verify of a directory that a server owns', () => {
  it('has that server verify it, and ends with 0', async () => {
    const where = newHome()
    const server = await startServer(where)
    await fill(server, 'demo')
    const link = path.join(where.root, 'link')
    symlinkSync(where.dataDir, link)
    const command = ['encryption', 'verify', '--path', link, '--format', 'json', '--rate', '500']
    const { code, stdout, stderr } = await runNimbus(command, { ...where.env, NIMBUS_URL: server.url })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({
      command: 'encryption verify',
      results: [
        { path: fileOf(where, 'sqlite', 'demo'), outcome: 'sound', damaged_pages: [] },
        { path: path.join(where.dataDir, 'nimbus-control.db'), outcome: 'sound' },
      ],
    })
    await server.stop()
  })

  it('is refused with 6 if no server answers, or the one of another directory', async () => {
    const [where, other] = [newHome(), newHome()]
    const [owner, stranger] = [await startServer(where), await startServer(other)]
    const verify = (url: string, env = where.env) =>
      runNimbus(['encryption', 'verify', '--path', where.dataDir, '--url', url], env)
    const unreachable = await verify('http://127.0.0.1:9')
    expect(unreachable).toMatchObject({ code: 6, stdout: '' })
    expect(unreachable.stderr).toContain(`process ${String(owner.process.pid)}`)
    const asked = await verify(stranger.url, { ...where.env, NIMBUS_AUTH_TOKEN_FILE: other.tokenFile })
    expect(asked).toMatchObject({ code: 6, stdout: '' })
    expect(asked.stderr).toContain(other.dataDir)
    expect(asked.stderr).toContain('--url')
    const unknown = await verify(stranger.url)
    expect(unknown).toMatchObject({ code: 6, stdout: '' })
    expect(unknown.stderr).toContain(`process ${String(owner.process.pid)}`)
    expect(unknown.stderr).toContain('NIMBUS_AUTH_TOKEN_FILE')
    await owner.stop()
    await stranger.stop()
  })

  it('goes on in the server when the command is interrupted', async () => {
    const where = newHome()
    const server = await startServer(where)
    await fill(server, 'demo')
    await server.request('POST', SLOWEST)
    const args = ['encryption', 'verify', '--path', where.dataDir, '--url', server.url, '--rate', '100']
    const command = spawnNimbus(args, where.env)
    const hasAsked = async () => {
      const { text } = await server.request('GET', '/metrics')
      return /route="\/debug\/encryption\/verify",status="202"} 2\n/.test(text)
    }
    while (!(await hasAsked()));
    command.process.kill('SIGINT')
    const { code, stderr } = await command.finished
    expect(code).toBe(130)
    expect(stderr).toContain('reads 0.0625 MiB a second: --rate changes nothing of it')
    expect(stderr).toContain('the server goes on')
    expect(await stateOf(server)).toMatchObject({ run: 1, state: 'running' })
    await server.stop()
  })
})
