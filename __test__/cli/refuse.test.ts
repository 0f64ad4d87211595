import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { NimbusErrorCode } from '../../src/errors.js'
import { failToStart, newHome, plainEnv, replaceKey, startServer, type Environment, type Home } from '../support/cli.js'
import { snapshot } from '../support/tree.js'

/** What a server leaves behind: made once for each kind, since starting servers is what these tests spend their time on. */
const leftBehind = new Map<'encrypted' | 'plain', { files: Map<string, Buffer>; key: Buffer }>()

/** A home whose server has been stopped, with the tenants `one` and `two`. */
async function usedHome(kind: 'encrypted' | 'plain' = 'encrypted'): Promise<Home> {
  const left = leftBehind.get(kind) ?? (await useHome(kind))
  leftBehind.set(kind, left)
  const home = newHome()
  replaceKey(home, left.key)
  mkdirSync(home.dataDir, { mode: 0o700 })
  for (const [name, bytes] of left.files) writeFileSync(fileOf(home, name), bytes, { mode: 0o600 })
  return home
}

async function useHome(kind: 'encrypted' | 'plain'): Promise<{ files: Map<string, Buffer>; key: Buffer }> {
  const home = newHome()
  const server = await startServer(home, [], kind === 'plain' ? plainEnv(home) : home.env)
  for (const id of ['one', 'two']) {
    await server.request('POST', '/api/tenants', { id })
    await server.request('POST', `/api/tenants/${id}/documents`, { table: 't', fields: { text: 'x'.repeat(5000) } })
  }
  await server.stop()
  const files = Object.keys(snapshot(home.dataDir)).map((name) => [name, readFileSync(fileOf(home, name))] as const)
  return { files: new Map(files), key: readFileSync(home.keyFile) }
}

async function expectRefusal(home: Home, env: Environment, code: NimbusErrorCode, exitCode: number): Promise<string> {
  const before = tenantsIn(home)
  const human = await failToStart(env)
  expect(human.stderr).toMatch(/^nimbus: .+\nhint: .+\n$/)
  expect(human.stdout).toBe('')
  expect(human.code).toBe(exitCode)
  const json = await failToStart(env, ['--format', 'json'])
  const { error } = JSON.parse(json.stderr) as { error: { code: string; message: string; remediation: string } }
  expect(error.code).toBe(code)
  expect(json.code).toBe(exitCode)
  expect(human.stderr).toBe(`nimbus: ${error.message}\nhint: ${error.remediation}\n`)
  expect(tenantsIn(home)).toEqual(before)
  return human.stderr
}

/** A control plane records that a start was refused. */
function tenantsIn({ dataDir }: Home): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot(dataDir)).filter(([name]) => name !== CONTROL_PLANE))
}

const CONTROL_PLANE = 'nimbus-control.db'
const fileOf = (home: Home, name = 'one.sqlite3'): string => path.join(home.dataDir, name)
const manifestOf = (home: Home, name = 'one.sqlite3'): string => `${fileOf(home, name)}.nimbus-enc`

describe('a start is refused, and nothing written but that it was, for', () => {
  it('a plaintext file with encryption on', async () => {
    const home = await usedHome('plain')
    const message = await expectRefusal(home, home.env, 'manifest_missing', 5)
    expect(message).toContain(`sidecar manifest is missing: ${fileOf(home, CONTROL_PLANE)}`)
    rmSync(fileOf(home, CONTROL_PLANE))
    const next = await expectRefusal(home, home.env, 'manifest_missing', 5)
    expect(next).toContain(`sidecar manifest is missing: ${fileOf(home)}`)
  })

  it('an encrypted file with encryption off', async () => {
    const home = await usedHome()
    const message = await expectRefusal(home, plainEnv(home), 'encrypted_but_disabled', 2)
    expect(message).toContain(manifestOf(home, CONTROL_PLANE))
    for (const file of [fileOf(home, CONTROL_PLANE), manifestOf(home, CONTROL_PLANE)]) rmSync(file)
    const next = await expectRefusal(home, plainEnv(home), 'encrypted_but_disabled', 2)
    expect(next).toContain(manifestOf(home))
  })

  it.each<[string, (home: Home) => void, NimbusErrorCode]>([
    ['is gone, and its manifest is not', (home) => rmSync(fileOf(home, CONTROL_PLANE)), 'data_missing'],
    ['has lost its manifest', (home) => rmSync(manifestOf(home, CONTROL_PLANE)), 'manifest_missing'],
    [
      "has a tenant's manifest",
      (home) => copyFileSync(manifestOf(home), manifestOf(home, CONTROL_PLANE)),
      'manifest_mismatch',
    ],
    ['was cut off', (home) => truncateSync(fileOf(home, CONTROL_PLANE), 20_480), 'file_corrupt'],
    ['is empty', (home) => truncateSync(fileOf(home, CONTROL_PLANE), 0), 'file_corrupt'],
  ])('a control plane that %s', async (_what, spoil, code) => {
    const home = await usedHome()
    spoil(home)
    expect(await expectRefusal(home, home.env, code, 5)).toContain(CONTROL_PLANE)
  })

  it('ciphertext without its manifest', async () => {
    const home = await usedHome()
    rmSync(manifestOf(home))
    const message = await expectRefusal(home, home.env, 'manifest_missing', 5)
    expect(message).toContain(`sidecar manifest is missing: ${fileOf(home)}`)
    expect(message).toMatch(/hint: .*backup/)
  })

  it('another master key', async () => {
    const home = await usedHome()
    replaceKey(home, randomBytes(32))
    const message = await expectRefusal(home, home.env, 'key_wrong', 3)
    expect(message).toContain('nimbus-control.db.nimbus-enc')
  })

  it('an edited manifest', async () => {
    const home = await usedHome()
    const text = readFileSync(manifestOf(home), 'utf8')
    writeFileSync(manifestOf(home), text.replace('"rotated_at":null', '"rotated_at":"2026-01-01T00:00:00.000Z"'))
    expect(readFileSync(manifestOf(home), 'utf8')).not.toBe(text)
    expect(await expectRefusal(home, home.env, 'manifest_altered', 5)).toContain('one.sqlite3')
  })

  it('a manifest that is not one', async () => {
    const home = await usedHome()
    writeFileSync(manifestOf(home), '{}')
    expect(await expectRefusal(home, home.env, 'manifest_altered', 5)).toContain('one.sqlite3')
  })

  it("another file's manifest", async () => {
    const home = await usedHome()
    copyFileSync(manifestOf(home, 'two.sqlite3'), manifestOf(home))
    expect(await expectRefusal(home, home.env, 'manifest_mismatch', 5)).toContain('one.sqlite3')
  })

  it('the data of another file', async () => {
    const home = await usedHome()
    copyFileSync(fileOf(home, 'two.sqlite3'), fileOf(home))
    expect(await expectRefusal(home, home.env, 'file_corrupt', 5)).toContain('one.sqlite3')
  })

  it.each([0, 7])('a file that was cut off after %i bytes', async (length) => {
    const home = await usedHome()
    truncateSync(fileOf(home), length)
    expect(await expectRefusal(home, home.env, 'file_corrupt', 5)).toContain('one.sqlite3')
  })

  it('a manifest whose file is gone', async () => {
    const home = await usedHome()
    rmSync(fileOf(home))
    expect(await expectRefusal(home, home.env, 'data_missing', 5)).toContain('one.sqlite3')
  })
})

describe('a file that was cut off further behind', () => {
  it.each([4095, 4096, 8192])('after %i bytes fails the requests to it, and stays as it is', async (length) => {
    const home = await usedHome()
    truncateSync(fileOf(home), length)
    const server = await startServer(home)
    const list = await server.request('GET', '/api/tenants/one/documents/t')
    expect(list.status).toBe(500)
    expect(list.body.error.code).toBe('file_corrupt')
    const insert = await server.request('POST', '/api/tenants/one/documents', { table: 't', fields: {} })
    expect(insert.body.error.code).toBe('file_corrupt')
    await server.stop()
    expect(statSync(fileOf(home)).size).toBe(length)
  })
})

describe('a damaged page', () => {
  it('fails the requests that need it, with a code and the file, and no others', async () => {
    const home = await usedHome()
    const bytes = readFileSync(fileOf(home))
    const last = bytes.length - 100
    bytes[last] = (bytes[last] ?? 0) ^ 1
    writeFileSync(fileOf(home), bytes)
    const server = await startServer(home)
    const damaged = await server.request('GET', '/api/tenants/one/documents/t')
    expect(damaged.status).toBe(500)
    expect(damaged.body.error.code).toBe('file_corrupt')
    expect(damaged.body.error.message).toContain('one.sqlite3')
    expect((await server.request('GET', '/api/tenants/two/documents/t')).status).toBe(200)
  })
})

describe('a key file is refused that', () => {
  const raw = randomBytes(32)

  it.each<[string, (file: string) => void, NimbusErrorCode, RegExp]>([
    ['does not exist', (file) => rmSync(file), 'key_missing', /does not exist/],
    [
      'is a directory',
      (file) => {
        rmSync(file)
        mkdirSync(file)
      },
      'key_malformed',
      /directory/,
    ],
    ['is too short', (file) => writeFileSync(file, raw.subarray(1)), 'key_malformed', /31 bytes/],
    ['is too long', (file) => writeFileSync(file, Buffer.concat([raw, raw])), 'key_malformed', /64 bytes/],
    ['is hex', (file) => writeFileSync(file, raw.toString('hex')), 'key_malformed', /hex/],
    ['is base64', (file) => writeFileSync(file, `${raw.toString('base64')}\n`), 'key_malformed', /base64/],
    ['is all zero', (file) => writeFileSync(file, Buffer.alloc(32)), 'key_malformed', /zero/],
  ])('%s', async (_what, spoil, code, message) => {
    const home = newHome()
    mkdirSync(home.dataDir, { mode: 0o700 })
    chmodSync(home.keyFile, 0o600)
    spoil(home.keyFile)
    const stderr = await expectRefusal(home, home.env, code, 3)
    expect(stderr).toMatch(message)
    expect(stderr).toContain(home.keyFile)
  })

  it('lies in the data directory', async () => {
    const home = newHome()
    mkdirSync(home.dataDir, { mode: 0o700 })
    const inside = path.join(home.dataDir, 'master.key')
    copyFileSync(home.keyFile, inside)
    const env = { ...home.env, NIMBUS_ENCRYPTION_MASTER_KEY_FILE: inside }
    expect(await expectRefusal(home, env, 'config_invalid', 2)).toContain(inside)
  })

  it('others can read: no, that is only warned of, with the remedy', async () => {
    const home = newHome()
    chmodSync(home.keyFile, 0o644)
    const server = await startServer(home)
    await server.stop()
    expect(server.stderr()).toContain(`chmod 400 ${home.keyFile}`)
  })
})
