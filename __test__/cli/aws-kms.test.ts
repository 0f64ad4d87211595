import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  failToStart,
  newHome,
  runNimbus,
  startServer,
  type Environment,
  type Finished,
  type Home,
} from '../support/cli.js'
import { writeIn } from '../support/directory.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'

const CREDENTIALS = { AWS_ACCESS_KEY_ID: FAKE_CREDENTIALS.id, AWS_SECRET_ACCESS_KEY: FAKE_CREDENTIALS.secret }

/** A home whose KEK is in a KMS, under the alias `one`. */
async function kmsHome(): Promise<{ home: Home; kms: FakeKms; arn: string }> {
  const kms = await FakeKms.start()
  const arn = kms.addKey('one')
  const home = newHome()
  return { home: { ...home, env: kmsEnv(home, kms, 'alias/one') }, kms, arn }
}

function kmsEnv(home: Home, kms: FakeKms, keyId: string): Environment {
  return {
    ...CREDENTIALS,
    NIMBUS_DATA_DIR: home.dataDir,
    NIMBUS_AUTH_TOKEN_FILE: home.tokenFile,
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'aws-kms',
    NIMBUS_ENCRYPTION_AWS_KMS_KEY_ID: keyId,
    NIMBUS_ENCRYPTION_AWS_REGION: FAKE_REGION,
    NIMBUS_ENCRYPTION_AWS_ENDPOINT_URL: kms.url,
  }
}

async function fill(home: Home, ...tenants: string[]): Promise<void> {
  const server = await startServer(home)
  for (const id of tenants) {
    expect((await server.request('POST', '/api/tenants', { id })).status).toBe(201)
    await server.request('POST', `/api/tenants/${id}/documents`, { table: 'notes', fields: { of: id } })
  }
  expect((await server.stop()).code).toBe(0)
}

async function serves(home: Home, ...tenants: string[]): Promise<void> {
  const server = await startServer(home)
  for (const tenant of tenants) {
    const page = await server.request('POST', `/api/tenants/${tenant}/query`, { table: 'notes' })
    expect(JSON.parse(page.text)).toMatchObject({ data: [{ fields: { of: tenant } }] })
  }
  await server.stop()
}

const rotateAll = (home: Home, env: Environment, ...args: string[]): Promise<Finished> =>
  runNimbus(['encryption', 'rotate-kek', '--path', home.dataDir, '--all', ...args], env)
const outcomesOf = ({ stdout }: Finished): string[] =>
  (JSON.parse(stdout) as { results: { outcome: string }[] }).results.map(({ outcome }) => outcome)

describe('a server whose keys AWS KMS wraps', () => {
  it('asks it once at its start, then once for each tenant at its first use, and prints nothing of the SDK', async () => {
    const { home, kms, arn } = await kmsHome()
    await fill(home, 'a', 'b', 'c')
    kms.requests.length = 0
    const server = await startServer(home)
    expect(kms.requests).toEqual(['GenerateDataKey'])
    const page = await server.request('POST', '/api/tenants/b/query', { table: 'notes' })
    expect(page.body.data).toHaveLength(1)
    expect(kms.requests).toEqual(['GenerateDataKey', 'Decrypt'])
    const { body } = await server.request('GET', '/debug/encryption/status')
    expect(body).toMatchObject({
      descriptor: { status: 'enabled', provider: 'aws_kms', key_id: 'alias/one', region: FAKE_REGION },
      files: [{ provider: 'aws_kms', key_id: arn }, {}, {}],
    })
    const { stdout, stderr } = await server.stop()
    expect(stdout + stderr).not.toContain('NodeVersionSupportWarning')
  })

  it('goes on with what is open while the KMS is gone, and says what is wrong with the rest', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a', 'b')
    const server = await startServer(home)
    await server.request('POST', '/api/tenants/a/query', { table: 'notes' })
    const { port } = kms
    await kms.stop()
    const written = await server.request('POST', '/api/tenants/a/documents', { table: 'notes', fields: { of: 'a' } })
    expect(written.status).toBe(201)
    const refused = await server.request('POST', '/api/tenants/b/query', { table: 'notes' })
    expect(refused).toMatchObject({ status: 503, body: { error: { code: 'kms_unavailable', retryable: true } } })
    expect(refused.body.error.remediation).toContain('VPC routing')
    await kms.listen(port)
    expect((await server.request('POST', '/api/tenants/b/query', { table: 'notes' })).status).toBe(200)
    await server.stop()
  })

  it('does not start for want of the key, of a permission, or of a KMS; and not with another key', async () => {
    const { home, kms, arn } = await kmsHome()
    await fill(home, 'a')
    const missing = await failToStart(kmsEnv(home, kms, 'alias/nowhere'))
    expect(missing.code).toBe(4)
    expect(missing.stderr).toContain('there is no such key')
    kms.denied.add('GenerateDataKey')
    const denied = await failToStart(home.env)
    expect(denied.code).toBe(4)
    expect(denied.stderr).toContain('kms:GenerateDataKey')
    kms.denied.clear()
    kms.addKey('two')
    const other = await failToStart(kmsEnv(home, kms, 'alias/two'))
    expect(other.code).toBe(3)
    expect(other.stderr).toContain(arn)
    await kms.stop()
    const gone = await failToStart(home.env)
    expect(gone.code).toBe(4)
    expect(gone.stderr).toContain('Check the region, the endpoint override, VPC routing, and the AWS credential chain.')
  })

  it('names the file whose manifest is missing before it serves, without a call for any file', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a')
    writeIn(home.dataDir, 'plain.sqlite3', Buffer.from('SQLite format 3\0'.padEnd(4096, '\0')), 0o600)
    kms.requests.length = 0
    const refused = await failToStart(home.env)
    expect(refused.code).toBe(5)
    expect(refused.stderr).toContain(`sidecar manifest is missing: ${path.join(home.dataDir, 'plain.sqlite3')}`)
    expect(kms.requests).toEqual(['GenerateDataKey'])
  })
})

describe('nimbus encryption with a KMS', () => {
  it('reports the status without asking it', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a')
    kms.requests.length = 0
    const status = await runNimbus(['encryption', 'status', '--format', 'json'], home.env)
    expect(status).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(status.stdout)).toMatchObject({
      descriptor: { status: 'enabled', provider: 'aws_kms', key_id: 'alias/one', region: FAKE_REGION },
      files: [{ state: 'encrypted', provider: 'aws_kms' }],
    })
    expect(kms.requests).toEqual([])
  })

  it('exports, migrates back, and gives the file another DEK', async () => {
    const { home } = await kmsHome()
    await fill(home, 'a')
    const file = path.join(home.dataDir, 'a.sqlite3')
    const plain = path.join(home.root, 'plain.sqlite3')
    const subject = ['--provider', 'sqlite', '--tenant-id', 'a']
    const rotated = await runNimbus(['encryption', 'rotate-dek', '--path', file, ...subject], home.env)
    expect(rotated).toMatchObject({ code: 0 })
    await serves(home, 'a')
    const exported = await runNimbus(
      ['encryption', 'export', '--source', file, '--target', plain, ...subject],
      home.env,
    )
    expect(exported).toMatchObject({ code: 0 })
    expect(readFileSync(plain).subarray(0, 15).toString()).toBe('SQLite format 3')
    const back = path.join(home.root, 'back.sqlite3')
    const migrated = await runNimbus(
      ['encryption', 'migrate', '--source', plain, '--target', back, ...subject],
      home.env,
    )
    expect(migrated).toMatchObject({ code: 0 })
    expect(readFileSync(`${back}.nimbus-enc`, 'utf8')).toContain('"aws_kms"')
    for (const { stderr } of [rotated, exported, migrated]) expect(stderr).not.toContain('Warning')
  })

  it('rotates from a master key file onto a KMS key and back, and from there into a key directory', async () => {
    const { home, kms } = await kmsHome()
    const local: Home = { ...home, env: newEnv(home) }
    await fill(local, 'a', 'b')
    const onto = await rotateAll(home, local.env, ...newKms(kms, 'alias/one'), '--format', 'json')
    expect({ ...onto, outcomes: outcomesOf(onto) }).toMatchObject({ code: 0, outcomes: ['rotated', 'rotated'] })
    await serves(home, 'a', 'b')
    expect((await failToStart(local.env)).code).toBe(3)
    const keyDir = path.join(home.root, 'keys')
    mkdirSync(keyDir, { mode: 0o700 })
    for (const tenant of ['a', 'b']) {
      const named = await runNimbus(['encryption', 'key-name', '--provider', 'sqlite', '--tenant-id', tenant])
      writeIn(keyDir, named.stdout.trim(), randomBytes(32), 0o400)
    }
    const back = await rotateAll(home, home.env, '--new-master-key-file', home.keyFile, '--format', 'json')
    expect(outcomesOf(back)).toEqual(['rotated', 'rotated'])
    await serves(local, 'a', 'b')
    const apart = await rotateAll(home, local.env, '--new-key-dir', keyDir, '--format', 'json')
    expect(outcomesOf(apart)).toEqual(['rotated', 'rotated'])
    await serves({ ...home, env: keyDirEnv(home, keyDir) }, 'a', 'b')
  })

  it('rotates from one KMS key to another with ReEncrypt, unwraps the result, and skips it the next time', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a', 'b')
    const arn = kms.addKey('two')
    kms.requests.length = 0
    const args = [...newKms(kms, 'alias/two'), '--format', 'json']
    const rotated = await rotateAll(home, home.env, ...args)
    expect(outcomesOf(rotated)).toEqual(['rotated', 'rotated'])
    // The new key is tried before anything else; of each file, the old DEK is opened, moved, and opened again from the new blob.
    expect([...kms.requests].sort()).toEqual(
      ['GenerateDataKey', ...['Decrypt', 'Decrypt', 'ReEncrypt'].flatMap((name) => [name, name])].sort(),
    )
    expect(outcomesOf(await rotateAll(home, home.env, ...args))).toEqual(['skipped', 'skipped'])
    const two: Home = { ...home, env: kmsEnv(home, kms, 'alias/two') }
    await serves(two, 'a', 'b')
    for (const name of readdirSync(home.dataDir).filter((entry) => entry.endsWith('.nimbus-enc'))) {
      expect(readFileSync(path.join(home.dataDir, name), 'utf8')).toContain(arn)
    }
  })

  it('rotates without ReEncrypt where that is denied', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a')
    kms.addKey('two')
    kms.denied.add('ReEncrypt')
    const rotated = await rotateAll(home, home.env, ...newKms(kms, 'alias/two'), '--format', 'json')
    expect(outcomesOf(rotated)).toEqual(['rotated'])
    await serves({ ...home, env: kmsEnv(home, kms, 'alias/two') }, 'a')
  })

  it('keeps the old wrapping when the new key does not give back what it wrapped', async () => {
    const { home, kms } = await kmsHome()
    await fill(home, 'a')
    kms.addKey('two')
    const manifest = path.join(home.dataDir, 'a.sqlite3.nimbus-enc')
    const before = readFileSync(manifest)
    // The first Decrypt opens the old wrapping, the second one the new.
    let opened = 0
    kms.faults = (operation) => (operation === 'Decrypt' && ++opened > 1 ? 'wrong_key_id' : undefined)
    const refused = await rotateAll(home, home.env, ...newKms(kms, 'alias/two'))
    expect(refused.code).toBe(1)
    expect(refused.stdout).toContain('the new key does not give back what it wrapped')
    expect(readFileSync(manifest)).toEqual(before)
    kms.faults = () => undefined
    await serves(home, 'a')
  })
})

function newKms(kms: FakeKms, keyId: string): string[] {
  return ['--new-aws-kms-key-id', keyId, '--new-aws-region', FAKE_REGION, '--new-aws-endpoint-url', kms.url]
}

/** The same home with its master key file; the credentials are for a rotation onto a KMS. */
function newEnv(home: Home): Environment {
  return {
    ...CREDENTIALS,
    NIMBUS_DATA_DIR: home.dataDir,
    NIMBUS_AUTH_TOKEN_FILE: home.tokenFile,
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
    NIMBUS_ENCRYPTION_MASTER_KEY_FILE: home.keyFile,
  }
}

function keyDirEnv(home: Home, keyDir: string): Environment {
  return {
    NIMBUS_DATA_DIR: home.dataDir,
    NIMBUS_AUTH_TOKEN_FILE: home.tokenFile,
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'key-dir',
    NIMBUS_ENCRYPTION_KEY_DIR: keyDir,
  }
}
