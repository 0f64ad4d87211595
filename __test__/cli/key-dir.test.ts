import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { failToStart, newHome, runNimbus, startServer, type Home } from '../support/cli.js'
import { writeIn } from '../support/directory.js'
import { snapshot } from '../support/tree.js'

/** A home whose keys lie in a directory. */
function keyDirHome(): Home & { readonly keyDir: string } {
  const home = newHome()
  const keyDir = path.join(home.root, 'keys')
  mkdirSync(keyDir, { mode: 0o700 })
  const env = {
    NIMBUS_DATA_DIR: home.dataDir,
    NIMBUS_AUTH_TOKEN_FILE: home.tokenFile,
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'key-dir',
    NIMBUS_ENCRYPTION_KEY_DIR: keyDir,
  }
  return { ...home, env, keyDir }
}

async function addKey(keyDir: string, ...subject: string[]): Promise<string> {
  const named = await runNimbus(['encryption', 'key-name', ...subject])
  return writeIn(keyDir, named.stdout.trim(), randomBytes(32), 0o400)
}

const tenant = (id: string): string[] => ['--provider', 'sqlite', '--tenant-id', id]
const CONTROL_PLANE = ['--provider', 'redb']
/** `db:redb:control:nimbus-control.db` in hex. */
const CONTROL_PLANE_KEY = '64623a726564623a636f6e74726f6c3a6e696d6275732d636f6e74726f6c2e6462.key'

describe('a server with a key directory', () => {
  it('does not start before the key of its control plane is there, names it, and leaves nothing behind', async () => {
    const home = keyDirHome()
    const missing = await failToStart(home.env)
    expect(missing.code).toBe(3)
    const key = path.join(home.keyDir, CONTROL_PLANE_KEY)
    expect(missing.stderr).toContain(`key file ${key} of db:redb:control:nimbus-control.db does not exist`)
    expect(Object.keys(snapshot(home.dataDir))).toEqual([])
    expect(await addKey(home.keyDir, ...CONTROL_PLANE)).toBe(key)
    expect(await (await startServer(home)).stop()).toMatchObject({ code: 0 })
    rmSync(key)
    await addKey(home.keyDir, ...CONTROL_PLANE)
    const wrong = await failToStart(home.env)
    expect(wrong.code).toBe(3)
    expect(wrong.stderr).toContain(`wrong key for ${path.join(home.dataDir, 'nimbus-control.db.nimbus-enc')}`)
    expect(wrong.stdout).toBe('')
  })

  it('creates a tenant once its key is there, and leaves nothing behind before', async () => {
    const home = keyDirHome()
    await addKey(home.keyDir, ...CONTROL_PLANE)
    const server = await startServer(home)
    const before = readdirSync(home.dataDir)
    const refused = await server.request('POST', '/api/tenants', { id: 'demo' })
    expect(refused.body.error.code).toBe('key_missing')
    expect(readdirSync(home.dataDir)).toEqual(before)
    expect((await server.request('GET', '/api/tenants')).body.data).toEqual([])

    const key = await addKey(home.keyDir, ...tenant('demo'))
    // The log is written a few lines at a time.
    await expect.poll(() => server.stderr(), { timeout: 10_000 }).toContain(key)
    const created = await server.request('POST', '/api/tenants', { id: 'demo' })
    expect(created).toMatchObject({ status: 201, body: { encrypted: true } })
    const inserted = await server.request('POST', '/api/tenants/demo/documents', { table: 'notes', fields: { n: 1 } })
    await server.stop()

    const again = await startServer(home)
    const read = await again.request('GET', `/api/tenants/demo/documents/notes/${inserted.body.id}`)
    expect(read.body).toEqual(inserted.body)
    const posture = await again.request('GET', '/debug/encryption/status')
    expect(posture.body).toMatchObject({
      enabled: true,
      descriptor: { status: 'enabled', provider: 'key_directory', path: home.keyDir },
    })
    await again.stop()

    const status = await runNimbus(['encryption', 'status', '--format', 'json'], home.env)
    expect(status.code).toBe(0)
    expect(JSON.parse(status.stdout)).toMatchObject({
      descriptor: { status: 'enabled', provider: 'key_directory', path: home.keyDir },
      files: Array(2).fill({ state: 'encrypted', provider: 'key_directory' }),
    })
    expect((await runNimbus(['encryption', 'status'], home.env)).stdout).toContain(`key_directory (${home.keyDir})`)
  })

  it('does not start before the key of every file is there and right', async () => {
    const home = keyDirHome()
    await addKey(home.keyDir, ...CONTROL_PLANE)
    const keys = [await addKey(home.keyDir, ...tenant('a')), await addKey(home.keyDir, ...tenant('b'))]
    const server = await startServer(home)
    for (const id of ['a', 'b']) expect((await server.request('POST', '/api/tenants', { id })).status).toBe(201)
    await server.stop()

    rmSync(keys[1] ?? '')
    const missing = await failToStart(home.env)
    expect(missing.code).toBe(3)
    expect(missing.stderr).toContain(`key file ${keys[1]} of db:sqlite:tenant:b:b.sqlite3 does not exist`)
    expect(missing.stdout).toBe('')

    await addKey(home.keyDir, ...tenant('b'))
    const wrong = await failToStart(home.env)
    expect(wrong.code).toBe(3)
    expect(wrong.stderr).toContain(`wrong key for ${path.join(home.dataDir, 'b.sqlite3.nimbus-enc')}`)
  })
})
