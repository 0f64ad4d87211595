/**
 * The troubleshooting list of the reference, line by line: each message says what is wrong, of which file or key, and what to do. That a
 * key file which this user may not read is told apart from one that is not there is in `keys/master-key-file.test.ts`.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Environment, type Home, newHome, plainEnv, replaceKey, runNimbus, startServer } from '../support/cli.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'
import { refusalOf } from './refusal.js'

/** A home whose server was stopped, with the tenants `one` and `two`. */
async function usedHome(env: (home: Home) => Environment = (home) => home.env): Promise<Home> {
  const home = newHome()
  const server = await startServer(home, [], env(home))
  for (const id of ['one', 'two']) await server.request('POST', '/api/tenants', { id })
  await server.stop()
  return home
}

const fileOf = ({ dataDir }: Home, tenant: string): string => path.join(dataDir, `${tenant}.sqlite3`)

function keyDirEnv(home: Home, keyDir: string): Environment {
  return {
    ...plainEnv(home),
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'key-dir',
    NIMBUS_ENCRYPTION_KEY_DIR: keyDir,
  }
}

describe('key file missing or unreadable: startup fails before serving traffic', () => {
  it('names the master key file', async () => {
    const home = newHome()
    rmSync(home.keyFile)
    expect(await refusalOf(home.env)).toEqual({
      exitCode: 3,
      code: 'key_missing',
      message: `master key file ${home.keyFile} does not exist`,
      remediation: `Put the key there; if nothing is encrypted yet, make one: openssl rand -out ${home.keyFile} 32`,
    })
  })

  it('names the key file of the subject, and the subject', async () => {
    const home = newHome()
    const keyDir = temporaryDirectory()
    const { stdout: name } = await runNimbus(['encryption', 'key-name', '--provider', 'redb'])
    const refused = await refusalOf(keyDirEnv(home, keyDir))
    expect(refused).toMatchObject({ exitCode: 3, code: 'key_missing' })
    expect(refused.message).toBe(
      `key file ${path.join(keyDir, name.trim())} of db:redb:control:nimbus-control.db does not exist`,
    )
    expect(refused.remediation).not.toBe('')
  })
})

describe('wrong key size: key files are exactly 32 bytes of raw binary data, not hex or base64', () => {
  const raw = randomBytes(32)

  it.each<[string, string | Buffer, RegExp, RegExp]>([
    ['31 bytes', raw.subarray(1), /has 31 bytes instead of 32/, /^Restore the whole key file from its backup/],
    ['33 bytes', Buffer.concat([raw, Buffer.from('\n')]), /has 33 bytes instead of 32/, /32 bytes, nothing else/],
    ['hex', raw.toString('hex'), /hex/, /^Convert it: xxd -r -p FILE/],
    ['base64', raw.toString('base64'), /base64/, /^Convert it: base64 -d FILE/],
  ])('%s in a master key file, and in one of a key directory', async (_what, content, message, remedy) => {
    const home = newHome()
    chmodSync(home.keyFile, 0o600)
    writeFileSync(home.keyFile, content)
    const keyDir = temporaryDirectory()
    const { stdout: name } = await runNimbus(['encryption', 'key-name', '--provider', 'redb'])
    const inDirectory = writeIn(keyDir, name.trim(), content, 0o400)
    for (const [env, file] of [
      [home.env, home.keyFile],
      [keyDirEnv(home, keyDir), inDirectory],
    ] as const) {
      const refused = await refusalOf(env)
      expect(refused).toMatchObject({ exitCode: 3, code: 'key_malformed' })
      expect(refused.message).toContain(file)
      expect(refused.message).toMatch(message)
      expect(refused.remediation.replaceAll(file, 'FILE')).toMatch(remedy)
    }
  })
})

describe('"sidecar manifest is missing": encryption is enabled for an existing plaintext file', () => {
  it('names the file and the command that migrates it, which does', async () => {
    const home = await usedHome(plainEnv)
    const migrate = async (name: string, ...subject: string[]): Promise<void> => {
      const file = path.join(home.dataDir, name)
      const refused = await refusalOf(home.env)
      expect(refused).toMatchObject({ exitCode: 5, code: 'manifest_missing' })
      expect(refused.message).toBe(`sidecar manifest is missing: ${file}`)
      const command = `nimbus encryption migrate --source ${file} ${subject.join(' ')}`
      expect(refused.remediation).toBe(`The file is plaintext; migrate it first: ${command}`)
      const words = [...command.split(' ').slice(1), '--retire-source']
      expect(await runNimbus(words, home.env)).toMatchObject({ code: 0, stderr: '' })
      for (const suffix of ['', '.nimbus-enc']) {
        cpSync(`${file}.encrypted${suffix}`, file + suffix)
        rmSync(`${file}.encrypted${suffix}`)
      }
    }
    await migrate('nimbus-control.db', '--provider', 'redb')
    await migrate('one.sqlite3', '--provider', 'sqlite', '--tenant-id', 'one')
    await migrate('two.sqlite3', '--provider', 'sqlite', '--tenant-id', 'two')
    expect((await (await startServer(home)).stop()).code).toBe(0)
  })
})

describe('cannot open an encrypted database', () => {
  it('because the provider cannot unwrap the DEK in the manifest: names manifest, key and where the key was', async () => {
    const home = await usedHome()
    replaceKey(home, randomBytes(32))
    const refused = await refusalOf(home.env)
    expect(refused).toMatchObject({ exitCode: 3, code: 'key_wrong' })
    expect(refused.message).toContain(`wrong key for ${path.join(home.dataDir, 'nimbus-control.db.nimbus-enc')}`)
    expect(refused.remediation).toBe(`Configure the key that wrapped it; it was at ${JSON.stringify(home.keyFile)}.`)
  })

  it('because file and manifest no longer match: names the file, and says to restore the pair', async () => {
    const home = await usedHome()
    copyFileSync(fileOf(home, 'two'), fileOf(home, 'one'))
    const refused = await refusalOf(home.env)
    expect(refused).toMatchObject({ exitCode: 5, code: 'file_corrupt' })
    expect(refused.message).toContain(`file and manifest do not belong together: ${fileOf(home, 'one')}`)
    expect(refused.remediation).toMatch(/[Rr]estore .*manifest.* from the backup/)
  })
})

describe('AWS KMS errors', () => {
  async function kmsHome() {
    const kms = await FakeKms.start()
    kms.addKey('one')
    const home = newHome()
    const env = (keyId: string): Environment => ({
      ...plainEnv(home),
      AWS_ACCESS_KEY_ID: FAKE_CREDENTIALS.id,
      AWS_SECRET_ACCESS_KEY: FAKE_CREDENTIALS.secret,
      NIMBUS_ENCRYPTION_KEY_PROVIDER: 'aws-kms',
      NIMBUS_ENCRYPTION_AWS_KMS_KEY_ID: keyId,
      NIMBUS_ENCRYPTION_AWS_REGION: FAKE_REGION,
      NIMBUS_ENCRYPTION_AWS_ENDPOINT_URL: kms.url,
    })
    mkdirSync(home.dataDir, { mode: 0o700 })
    return { kms, env }
  }

  it('key-not-found: the key id or alias does not resolve in the selected region, both of which are named', async () => {
    const { env } = await kmsHome()
    const refused = await refusalOf(env('alias/nowhere'))
    expect(refused).toMatchObject({ exitCode: 4, code: 'kms_key_not_found' })
    expect(refused.message).toContain('alias/nowhere')
    expect(`${refused.message} ${refused.remediation}`).toContain(FAKE_REGION)
    expect(refused.remediation).toMatch(/alias/)
  })

  it('permission-denied: the caller lacks the operation on the key, both of which are named', async () => {
    const { kms, env } = await kmsHome()
    kms.denied.add('GenerateDataKey')
    const refused = await refusalOf(env('alias/one'))
    expect(refused).toMatchObject({ exitCode: 4, code: 'kms_denied' })
    expect(refused.message).toContain('alias/one')
    expect(refused.remediation).toContain('kms:GenerateDataKey')
  })

  it('network errors: point at region, endpoint override, VPC routing, or the credential chain', async () => {
    const { kms, env } = await kmsHome()
    const unreachable = env('alias/one')
    await kms.stop()
    const refused = await refusalOf(unreachable)
    expect(refused).toMatchObject({ exitCode: 4, code: 'kms_unavailable' })
    expect(refused.remediation).toBe(
      'Check the region, the endpoint override, VPC routing, and the AWS credential chain.',
    )
  })
})
