import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { failToStart, newHome, runNimbus, startServer, type Finished, type Home, type Server } from '../support/cli.js'
import { temporaryDirectory } from '../support/directory.js'
import { allBytes } from '../support/tree.js'

const run = (home: Home, server: Pick<Server, 'url'>, ...args: string[]): Promise<Finished> =>
  runNimbus(['token', ...args], { NIMBUS_AUTH_TOKEN_FILE: home.tokenFile, NIMBUS_URL: server.url })

const read = (server: Server, token: string) =>
  server.request('GET', '/api/tenants/demo/documents/notes', undefined, { authorization: `Bearer ${token}` })

async function serverWithTenant(home: Home): Promise<Server> {
  const server = await startServer(home)
  await server.request('POST', '/api/tenants', { id: 'demo' })
  return server
}

describe('nimbus token', () => {
  it('create prints a token that is good at once and after a kill; list shows it; revoke ends it for good', async () => {
    const home = newHome()
    const first = await serverWithTenant(home)
    const created = await run(
      home,
      first,
      'create',
      '--name',
      'reporting',
      '--tenants',
      'demo,later',
      '--expires-in',
      '90d',
    )
    expect(created).toMatchObject({ code: 0, stderr: '' })
    const token = created.stdout.trim()
    expect(token).toMatch(/^nbt_[A-Za-z0-9_-]{43}$/)
    expect((await read(first, token)).status).toBe(200)
    first.process.kill('SIGKILL')
    await first.finished

    const second = await startServer(home)
    expect((await read(second, token)).status).toBe(200)
    const listed = await run(home, second, 'list', '--format', 'json')
    const [record] = (JSON.parse(listed.stdout) as { data: Record<string, string>[] }).data
    expect(record).toMatchObject({
      prefix: token.slice(0, 12),
      name: 'reporting',
      tenants: ['demo', 'later'],
      access: 'read',
    })
    const days = (Date.parse(record?.['expires_at'] ?? '') - Date.now()) / 86_400_000
    expect(days).toBeGreaterThan(89.9)
    expect(days).toBeLessThanOrEqual(90)
    const shown = await run(home, second, 'list')
    expect(shown.stdout).toContain(`${token.slice(0, 12)}  reporting  demo,later  read`)
    expect(listed.stdout + shown.stdout).not.toContain(token)

    const id = record?.['id'] ?? ''
    expect(await run(home, second, 'revoke', '--id', id)).toMatchObject({ code: 0, stdout: `Revoked ${id}\n` })
    expect((await read(second, token)).status).toBe(401)
    second.process.kill('SIGKILL')
    await second.finished
    const third = await startServer(home)
    expect((await read(third, token)).status).toBe(401)
    await third.stop()
    expect(allBytes(home.root)).not.toContain(token)
  })

  it('says what the server says, with its code', async () => {
    const home = newHome()
    const server = await serverWithTenant(home)
    const unknown = await run(home, server, 'revoke', '--id', 'x', '--format', 'json')
    expect(unknown.code).toBe(1)
    expect(JSON.parse(unknown.stderr)).toMatchObject({ error: { code: 'token_not_found' } })
    const bad = await run(home, server, 'create', '--name', 'x', '--tenants', 'Demo')
    expect(bad.stderr).toContain('"Demo" is not a tenant id')
    expect((await run(home, server, 'list')).stdout).toBe('There are no API tokens.\n')
    writeFileSync(home.tokenFile, JSON.stringify({ token: 'x'.repeat(40) }))
    // The server reads the replaced file at the next request, and takes it for the new admin token.
    expect((await run(home, server, 'list')).code).toBe(0)
  })

  it.each<[string[], number, string]>([
    [['create', '--tenants', 'demo'], 2, 'needs --name'],
    [['create', '--name', 'x'], 2, 'needs --tenants'],
    [['create', '--name', 'x', '--tenants', 'demo', '--expires-in', 'soon'], 2, 'is not a time'],
    [['revoke'], 2, 'needs --id'],
    [['list', '--url', 'http://192.0.2.1:8080'], 2, 'would carry the admin token in the clear'],
    [['list', '--url', 'ftp://localhost'], 2, 'is not the URL of a server'],
    [['list', '--url', 'http://127.0.0.1:9'], 1, 'cannot reach the server at http://127.0.0.1:9'],
  ])('%j is refused', async (args, code, message) => {
    const home = newHome()
    mkdirSync(path.dirname(home.tokenFile), { mode: 0o700 })
    writeFileSync(home.tokenFile, JSON.stringify({ token: 'x'.repeat(40) }), { mode: 0o600 })
    const refused = await runNimbus(['token', ...args], { NIMBUS_AUTH_TOKEN_FILE: home.tokenFile })
    expect(refused).toMatchObject({ code, stdout: '' })
    expect(refused.stderr).toContain(message)
    expect(refused.stderr).toMatch(/\nhint: .+\n$/)
  })
})

describe('a control plane in a directory of its own', () => {
  it('has a lock of its own, and the commands know where it lies', async () => {
    const home = newHome()
    const controlDir = path.join(home.root, 'control')
    const env = { ...home.env, NIMBUS_CONTROL_DATA_DIR: controlDir }
    const server = await startServer(home, [], env)
    expect((await server.request('POST', '/api/tenants', { id: 'demo' })).status).toBe(201)
    expect(readdirSync(home.dataDir).filter((name) => name.startsWith('nimbus-control'))).toEqual([])
    expect(readdirSync(controlDir).sort()).toEqual([
      '.nimbus.lock',
      'nimbus-control.db',
      'nimbus-control.db.nimbus-enc',
      'nimbus-control.db.nimbus-lock',
    ])
    const elsewhere = { ...env, NIMBUS_DATA_DIR: path.join(temporaryDirectory(), 'data') }
    const second = await failToStart(elsewhere)
    expect(second).toMatchObject({ code: 6, stdout: '' })
    expect(second.stderr).toContain(`process ${String(server.process.pid)}`)
    expect(second.stderr).toContain(controlDir)
    await server.stop()
    const status = await runNimbus(['encryption', 'status', '--format', 'json'], env)
    expect(status.code).toBe(0)
    expect(JSON.parse(status.stdout)).toMatchObject({
      files: [{ family: 'embedded_sqlite' }, { family: 'control_plane_redb', path: `${controlDir}/nimbus-control.db` }],
    })
  })
})

describe('a control plane whose DEK is changed', () => {
  it('opens with what it held, and says when all of it was last read', async () => {
    const home = newHome()
    const first = await serverWithTenant(home)
    const created = await run(home, first, 'create', '--name', 'x', '--tenants', 'demo')
    await first.stop()
    const file = path.join(home.dataDir, 'nimbus-control.db')
    const rotated = await runNimbus(['encryption', 'rotate-dek', '--path', file, '--provider', 'redb'], home.env)
    expect(rotated).toMatchObject({ code: 0, stderr: '' })
    const second = await startServer(home)
    expect((await read(second, created.stdout.trim())).status).toBe(200)
    const events = await second.request('GET', '/debug/encryption/events?limit=1')
    expect(events.body.data).toMatchObject([
      { event: 'dek_rotated', subject: 'db:redb:control:nimbus-control.db', note: 'generation 1 to 2' },
    ])
    const status = JSON.parse((await second.request('GET', '/debug/encryption/status')).text) as {
      files: { path: string; generation: string; rotated_at: string; verified_at: string }[]
    }
    const entry = status.files.find((known) => known.path === file)
    expect(entry).toMatchObject({ generation: '2', rotated_at: expect.any(String), verified_at: entry?.rotated_at })
    await second.stop()
  })
})
