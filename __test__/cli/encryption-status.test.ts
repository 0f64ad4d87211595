import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  newHome,
  plainEnv,
  runNimbus,
  startServer,
  type Environment,
  type Finished,
  type Home,
} from '../support/cli.js'
import { writeIn } from '../support/directory.js'
import { snapshot } from '../support/tree.js'

interface Status {
  enabled: boolean
  encrypted_families: string[]
  descriptor: Record<string, string>
  files: Record<string, unknown>[]
}

const status = (env: Environment, ...args: string[]): Promise<Finished> =>
  runNimbus(['encryption', 'status', ...args], env)

async function jsonStatus(env: Environment): Promise<Status & { code: number | null }> {
  const { code, stdout } = await status(env, '--format', 'json')
  return { ...(JSON.parse(stdout) as Status), code }
}

async function homeWithTenant(): Promise<Home> {
  const home = newHome()
  const server = await startServer(home)
  await server.request('POST', '/api/tenants', { id: 'demo' })
  await server.stop()
  return home
}

describe('nimbus encryption status', () => {
  it('reports the posture and every file, in the shape of the HTTP route', async () => {
    const home = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const overHttp = await server.request('GET', '/debug/encryption/status')
    const { code, ...reported } = await jsonStatus(home.env)
    expect(code).toBe(0)
    // What only the open handle knows is not on the disk for others to see.
    const { files, ...posture } = JSON.parse(overHttp.text) as Status
    expect(reported).toEqual({ ...posture, files: files.map(({ open: _, ...file }) => file) })
    expect(files.at(-1)).toMatchObject({
      path: path.join(home.dataDir, 'nimbus-control.db'),
      family: 'control_plane_redb',
      subject: 'db:redb:control:nimbus-control.db',
      open: { rolled_back: false, file_id: expect.stringMatching(/^[0-9a-f]{32}$/), epoch: expect.any(Number) },
    })
    expect(reported).toMatchObject({
      enabled: true,
      encrypted_families: ['embedded_sqlite', 'control_plane_redb'],
      descriptor: { status: 'enabled', provider: 'master_key_file', path: home.keyFile },
      files: [
        {
          path: path.join(home.dataDir, 'demo.sqlite3'),
          family: 'embedded_sqlite',
          state: 'encrypted',
          subject: 'db:sqlite:tenant:demo:demo.sqlite3',
          cipher: 'sqlcipher',
          provider: 'master_key_file',
          generation: '1',
          rotated_at: null,
        },
        { family: 'control_plane_redb', state: 'encrypted', cipher: 'aes-256-gcm-siv' },
      ],
    })
  })

  it('says the same to people', async () => {
    const home = await homeWithTenant()
    const { code, stdout, stderr } = await status(home.env)
    expect(code).toBe(0)
    expect(stderr).toBe('')
    expect(stdout).toContain('encryption      enabled\n')
    expect(stdout).toContain(`master_key_file (${home.keyFile})`)
    expect(stdout).toContain(path.join(home.dataDir, 'demo.sqlite3'))
    expect(stdout).toContain('2 files, each encrypted and consistent.\n')
    expect(stdout).not.toContain('\u001b')
  })

  it('needs no key, takes no lock and writes nothing', async () => {
    const home = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const before = snapshot(home.dataDir)
    rmSync(home.keyFile)
    expect((await status(home.env)).code).toBe(0)
    expect(snapshot(home.dataDir)).toEqual(before)
    // Having looked, it has not taken the server's own locks away either.
    const inserted = await server.request('POST', '/api/tenants/demo/documents', { table: 't', fields: {} })
    expect(inserted.status).toBe(201)
  })

  it('reads the configuration from the file that NIMBUS_CONFIG names', async () => {
    const home = await homeWithTenant()
    const persistence = {
      data_dir: home.dataDir,
      encryption_key_provider: 'master-key-file',
      encryption_master_key_file: home.keyFile,
    }
    const file = writeIn(home.root, 'nimbus.json', JSON.stringify({ persistence }))
    const { code, files } = await jsonStatus({ NIMBUS_CONFIG: file })
    expect(code).toBe(0)
    expect(files).toHaveLength(2)
  })

  it.each<[string, string, (home: Home) => void]>([
    ['manifest_missing', 'demo.sqlite3', (home) => rmSync(path.join(home.dataDir, 'demo.sqlite3.nimbus-enc'))],
    ['data_missing', 'demo.sqlite3', (home) => rmSync(path.join(home.dataDir, 'demo.sqlite3'))],
    ['unreadable', 'demo.sqlite3', (home) => writeFileSync(path.join(home.dataDir, 'demo.sqlite3.nimbus-enc'), 'x')],
    [
      'plaintext',
      'other.sqlite3',
      (home) => writeIn(home.dataDir, 'other.sqlite3', 'SQLite format 3\0'.padEnd(4096, '\0')),
    ],
  ])('ends with 5 and says %s', async (state, name, spoil) => {
    const home = await homeWithTenant()
    spoil(home)
    const { code, files } = await jsonStatus(home.env)
    expect(code).toBe(5)
    expect(files.find((file) => file['path'] === path.join(home.dataDir, name))).toMatchObject({ state })
    const human = await status(home.env)
    expect(human.code).toBe(5)
    expect(human.stdout).toContain(state)
    expect(human.stdout).toContain('not encrypted and consistent')
  })

  it('shows a file name that would speak to the terminal as harmless text', async () => {
    const home = await homeWithTenant()
    const manifest = path.join(home.dataDir, 'demo.sqlite3.nimbus-enc')
    copyFileSync(manifest, path.join(home.dataDir, 'x\u001b[31m\nfake.sqlite3.nimbus-enc'))
    const { stdout, code } = await status(home.env)
    expect(code).toBe(5)
    expect(stdout).not.toContain('\u001b')
    expect(stdout).not.toContain('\nfake')
  })

  it('is refused when encryption is not configured', async () => {
    const home = await homeWithTenant()
    const { code, stdout, stderr } = await status(plainEnv(home))
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^nimbus: encryption is not configured\nhint: Set NIMBUS_ENCRYPTION_KEY_PROVIDER.*\n$/)
    const json = await status(plainEnv(home), '--format=json')
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'encryption_not_configured' } })
  })

  it('takes no server flags, and says what to use instead', async () => {
    const { code, stderr } = await status(newHome().env, '--data-dir', '/x')
    expect(code).toBe(2)
    expect(stderr).toContain('takes no server flags such as --data-dir')
    expect(stderr).toContain('hint: Set NIMBUS_DATA_DIR')
    expect((await status(newHome().env, '--encryption-key-provider=master-key-file')).code).toBe(2)
    expect((await status(newHome().env, 'extra')).code).toBe(2)
  })

  it('warns when there is no data directory, since an empty report would reassure', async () => {
    const home = newHome()
    const { code, stderr, stdout } = await status(home.env)
    expect(code).toBe(0)
    expect(stderr).toContain(`nimbus: there is no data directory ${home.dataDir}`)
    expect(stdout).toContain('There are no database files yet.')
  })

  it('never shows key material', async () => {
    const home = await homeWithTenant()
    const key = readFileSync(home.keyFile)
    const { stdout, stderr } = await status(home.env, '--format', 'json')
    expect(stdout + stderr).not.toContain(key.toString('hex'))
    expect(stdout + stderr).not.toContain(key.toString('base64'))
  })
})
