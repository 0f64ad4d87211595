/** "Backup rules" of the reference: what a backup has to hold, what opens it, and what is said of one that lacks something. */
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Environment, type Home, newHome, replaceKey, runNimbus, startServer } from '../support/cli.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { refusalOf } from './refusal.js'

interface Custody {
  /** The settings under which the key is found below this directory. */
  readonly settings: (keys: string) => Environment
  /** Makes the keys of a server and its tenants there. */
  readonly make: (keys: string, provider: string) => Promise<void>
}

const TENANTS = ['one', 'two']
const masterKeyIn = (keys: string): string => path.join(keys, 'master.key')

const CUSTODIES: Record<string, Custody> = {
  'a master key file': {
    settings: (keys) => ({
      NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
      NIMBUS_ENCRYPTION_MASTER_KEY_FILE: masterKeyIn(keys),
    }),
    make: async (keys) => {
      writeIn(keys, 'master.key', randomBytes(32), 0o400)
    },
  },
  'a key directory': {
    settings: (keys) => ({ NIMBUS_ENCRYPTION_KEY_PROVIDER: 'key-dir', NIMBUS_ENCRYPTION_KEY_DIR: keys }),
    make: async (keys, provider) => {
      const subjects = TENANTS.map((id) => ['--provider', provider, '--tenant-id', id])
      for (const subject of [['--provider', 'redb'], ...subjects]) {
        const { stdout } = await runNimbus(['encryption', 'key-name', ...subject])
        writeIn(keys, stdout.trim(), randomBytes(32), 0o400)
      }
    },
  },
}

/** Where a server keeps its data, and where its keys are. */
interface Place {
  readonly home: Home
  readonly keys: string
}

function place(custody: Custody): Place {
  const home = newHome()
  const keys = temporaryDirectory()
  const env = {
    NIMBUS_DATA_DIR: home.dataDir,
    NIMBUS_AUTH_TOKEN_FILE: home.tokenFile,
    ...custody.settings(keys),
  }
  return { home: { ...home, env }, keys }
}

describe.each(Object.entries(CUSTODIES))('a backup of files under %s', (_what, custody) => {
  describe.each(['sqlite', 'redb'])('of %s tenants', (provider) => {
    const args = ['--tenant-provider', provider]
    const fileOf = ({ dataDir }: Home, tenant: string): string =>
      path.join(dataDir, `${tenant}.${provider === 'sqlite' ? 'sqlite3' : 'redb'}`)

    /** Data and manifests of a server that was stopped, and its keys, each copied to another place. */
    async function restored(): Promise<Place> {
      const from = place(custody)
      await custody.make(from.keys, provider)
      const server = await startServer(from.home, args)
      for (const id of TENANTS) {
        expect((await server.request('POST', '/api/tenants', { id })).status).toBe(201)
        await server.request('POST', `/api/tenants/${id}/documents`, { table: 'notes', fields: { of: id } })
      }
      await server.stop()
      const to = place(custody)
      cpSync(from.home.dataDir, to.home.dataDir, { recursive: true })
      cpSync(from.keys, to.keys, { recursive: true })
      rmSync(from.home.dataDir, { recursive: true })
      rmSync(from.keys, { recursive: true })
      return to
    }

    it('opens elsewhere with data, manifests and keys, and says what is missing without one of them', async () => {
      const { home, keys } = await restored()
      const [one, two] = [fileOf(home, 'one'), fileOf(home, 'two')]
      const manifest = `${one}.nimbus-enc`
      const aside = temporaryDirectory()

      renameSync(manifest, path.join(aside, 'manifest'))
      const lost = await refusalOf(home.env, ...args)
      expect(lost).toMatchObject({ exitCode: 5, code: 'manifest_missing' })
      expect(lost.message).toBe(`sidecar manifest is missing: ${one}`)
      expect(lost.remediation).toContain(`restore ${manifest} from the backup`)

      cpSync(`${two}.nimbus-enc`, manifest)
      const foreign = await refusalOf(home.env, ...args)
      expect(foreign).toMatchObject({ exitCode: 5, code: 'manifest_mismatch' })
      expect(foreign.message).toContain(`sidecar manifest belongs to another file: ${manifest}`)
      renameSync(path.join(aside, 'manifest'), manifest)

      renameSync(keys, path.join(aside, 'keys'))
      mkdirSync(keys)
      const keyless = await refusalOf(home.env, ...args)
      expect(keyless).toMatchObject({ exitCode: 3, code: 'key_missing' })
      expect(keyless.message).toContain(keys)

      await custody.make(keys, provider)
      const wrong = await refusalOf(home.env, ...args)
      expect(wrong).toMatchObject({ exitCode: 3, code: 'key_wrong' })
      expect(wrong.message).toContain(`wrong key for ${home.dataDir}`)
      expect(wrong.remediation).toContain('Configure the key that wrapped it; it was at ')
      rmSync(keys, { recursive: true })
      renameSync(path.join(aside, 'keys'), keys)

      renameSync(one, path.join(aside, 'data'))
      const dataless = await refusalOf(home.env, ...args)
      expect(dataless).toMatchObject({ exitCode: 5, code: 'data_missing' })
      expect(dataless.message).toContain(one)
      renameSync(path.join(aside, 'data'), one)

      const server = await startServer(home, args)
      for (const id of TENANTS) {
        const found = await server.request('POST', `/api/tenants/${id}/query`, { table: 'notes' })
        expect(found.body.data).toMatchObject([{ fields: { of: id } }])
      }
      expect((await server.stop()).code).toBe(0)
    })
  })
})

describe('a backup under a key of another server', () => {
  it('does not open, and the old key, put in its place, opens it', async () => {
    const home = newHome()
    const other = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'one' })
    await server.stop()
    cpSync(home.dataDir, other.dataDir, { recursive: true })
    expect(await refusalOf(other.env)).toMatchObject({ exitCode: 3, code: 'key_wrong' })
    replaceKey(other, readFileSync(home.keyFile))
    expect((await (await startServer(other)).stop()).code).toBe(0)
  })
})
