import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { keyBoxService } from '../../examples/own-key-provider/key-box-service.mjs'
import {
  type DataKeyService,
  type KeyProvider,
  NimbusError,
  dataKeyProvider,
  rotateKeys,
  startServer,
} from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'
import { keyProviderContract, newBinding } from './contract-suite.js'

const EXAMPLE = path.join(import.meta.dirname, '../../examples/own-key-provider')

/** Where the example's key box listens, with a KEK of its own. */
async function startKeyBox(): Promise<string> {
  const directory = temporaryDirectory()
  const socket = path.join(directory, 'box.sock')
  const box = spawn(process.execPath, [path.join(EXAMPLE, 'key-box.mjs'), path.join(directory, 'kek'), socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void box.kill('SIGKILL'))
  await once(box.stdout, 'data')
  return socket
}

keyProviderContract('of the example own-key-provider', async () => {
  const [one, two] = [await startKeyBox(), await startKeyBox()]
  return {
    open: async () => dataKeyProvider(keyBoxService(one)),
    openOther: async () => dataKeyProvider(keyBoxService(two)),
  }
})

describe('the example own-key-provider', () => {
  it('runs: a process of its own wraps the keys of a server', async () => {
    const example = spawn(process.execPath, [path.join(EXAMPLE, 'main.mjs')], { stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    example.stdout.on('data', (text) => (stdout += String(text)))
    example.stderr.on('data', (text) => (stderr += String(text)))
    const [code] = await once(example, 'close')
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(stdout).toMatch(/^tenant: {3}\{"id":"demo","provider":"sqlite","encrypted":true/m)
    expect(stdout).toMatch(/^document: .*"fields":\{"n":1\}/m)
    expect(stdout).toMatch(/^manifest: .*"provider":"key_box","hint":"key box at /m)
  })

  it('says that the box does not answer', async () => {
    const provider = dataKeyProvider(keyBoxService('/nonexistent.sock'))
    expect(await rejectionOf(provider.newDek(newBinding()))).toMatchObject({ code: 'kms_unavailable' })
  })
})

/** A service that only remembers, and the bytes that it handed over. */
function remembering(changes: Partial<DataKeyService> = {}) {
  const handedOver: Uint8Array[] = []
  const keys = new Map<string, Uint8Array>()
  const handOver = (key: Uint8Array): Uint8Array => {
    handedOver.push(key)
    return key
  }
  let opened = 0
  const service: DataKeyService = {
    kind: 'remembering',
    hint: 'this process',
    describe: () => ({ provider: 'remembering', key_id: 'one', region: null }),
    health: async () => undefined,
    generate: async (context) => {
      const [key, blob] = [randomBytes(32), randomBytes(32)]
      keys.set(blob.toString('hex') + JSON.stringify(context), Uint8Array.from(key))
      return { keyId: 'one', blob, key: handOver(key) }
    },
    open: async ({ blob }, context) => {
      opened += 1
      const key = keys.get(Buffer.from(blob).toString('hex') + JSON.stringify(context))
      return key === undefined ? { outcome: 'altered' } : { outcome: 'opened', key: handOver(Uint8Array.from(key)) }
    },
    close: () => undefined,
    ...changes,
  }
  return { service, handedOver, opened: () => opened }
}

async function madeAndUnwrapped(provider: KeyProvider) {
  const binding = newBinding()
  const made = await provider.newDek(binding)
  const result = await provider.unwrap(binding, made, made.dek.commitment(binding.salt))
  return { binding, made, result }
}

describe('a provider over a service', () => {
  it('wipes the keys that it is handed, once it has them', async () => {
    const { service, handedOver } = remembering()
    expect((await madeAndUnwrapped(dataKeyProvider(service))).result.outcome).toBe('opened')
    expect(handedOver.map((key) => Buffer.compare(key, Buffer.alloc(32)))).toEqual([0, 0])
  })

  it('leaves them alone if the service keeps its keys', async () => {
    const { service, handedOver } = remembering({ keepsKeys: true })
    expect((await madeAndUnwrapped(dataKeyProvider(service))).result.outcome).toBe('opened')
    for (const key of handedOver) expect(Buffer.compare(key, Buffer.alloc(32))).not.toBe(0)
  })

  it.each([
    ['31 bytes', Buffer.alloc(31, 1), 'a data key has 32 bytes'],
    ['32 zero bytes', Buffer.alloc(32), 'the data key holds 32 zero bytes'],
  ])('refuses a key of %s', async (_what, key, says) => {
    const { service } = remembering({ generate: async () => ({ keyId: 'one', blob: randomBytes(32), key }) })
    await expect(dataKeyProvider(service).newDek(newBinding())).rejects.toThrow(says)
    expect(key.every((byte) => byte === 0)).toBe(true)
  })

  it.each(['aws_kms', 'master_key_file', 'Upper', '', 'a'.repeat(33)])('may not be of the kind %j', (kind) => {
    expect(() => dataKeyProvider(remembering({ kind }).service)).toThrow(TypeError)
  })

  it('passes on what the service fails with', async () => {
    const failure = new NimbusError('kms_throttled', 'too many')
    const { service } = remembering({ generate: () => Promise.reject(failure) })
    expect(await rejectionOf(dataKeyProvider(service).newDek(newBinding()))).toBe(failure)
  })

  it('opens nothing any more when it is closed, and asks nobody', async () => {
    const { service, opened } = remembering()
    const provider = dataKeyProvider(service)
    const { binding, made } = await madeAndUnwrapped(provider)
    expect(opened()).toBe(1)
    provider.close()
    await expect(provider.unwrap(binding, made, made.dek.commitment(binding.salt))).rejects.toThrow('was closed')
    expect(opened()).toBe(1)
    expect(made.dek.commitment(binding.salt)).toHaveLength(32)
  })

  it('keeps the keys of the 4,096 files that were used last', async () => {
    const { service, opened } = remembering()
    const provider = dataKeyProvider(service)
    const first = await madeAndUnwrapped(provider)
    const unwrapFirst = () => provider.unwrap(first.binding, first.made, first.made.dek.commitment(first.binding.salt))
    for (let index = 0; index < 4_095; index++) {
      const { result, made } = await madeAndUnwrapped(provider)
      if (result.outcome === 'opened') result.dek.close()
      made.dek.close()
    }
    expect(opened()).toBe(4_096)
    expect((await unwrapFirst()).outcome).toBe('opened')
    expect(opened()).toBe(4_096)
    for (let index = 0; index < 4_096; index++) await madeAndUnwrapped(provider)
    expect((await unwrapFirst()).outcome).toBe('opened')
    expect(opened()).toBe(4_096 + 4_096 + 1)
  })
})

describe('a program', () => {
  /** Serves the directory until `use` is done with it. */
  async function serve(
    { directory, tokenFile }: { directory: string; tokenFile: string },
    keyProvider: KeyProvider,
    use: (post: (route: string, body: unknown) => Promise<Response>) => Promise<void>,
  ): Promise<void> {
    const flags = ['--data-dir', directory, '--auth-token-file', tokenFile, '--port', '0']
    const server = await startServer({ flags, keyProvider })
    const { token } = JSON.parse(readFileSync(tokenFile, 'utf8')) as { token: string }
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    try {
      await use((route, body) => fetch(server.url + route, { method: 'POST', headers, body: JSON.stringify(body) }))
    } finally {
      await server.stop()
    }
  }

  it('serves with a provider of its own, and rotates the keys of a directory to any other', async () => {
    const root = temporaryDirectory()
    const home = { directory: path.join(root, 'data'), tokenFile: path.join(root, 'token') }
    const [one, two] = [dataKeyProvider(keyBoxService(await startKeyBox())), dataKeyProvider(remembering().service)]
    await serve(home, one, async (post) => {
      expect((await post('/api/tenants', { id: 'demo' })).status).toBe(201)
      expect((await post('/api/tenants/demo/documents', { table: 'notes', fields: { n: 1 } })).status).toBe(201)
      expect(await rejectionOf(rotateKeys(home.directory, { from: one, to: two }).next())).toMatchObject({
        code: 'file_busy',
      })
    })
    const outcomes: string[] = []
    for await (const { outcome } of rotateKeys(home.directory, { from: one, to: two })) outcomes.push(outcome)
    expect(outcomes).toEqual(['rotated'])
    await serve(home, two, async (post) => {
      const answer = await post('/api/tenants/demo/query', { table: 'notes' })
      expect(await answer.json()).toMatchObject({ data: [{ fields: { n: 1 } }] })
    })
    expect(await rejectionOf(serve(home, one, async () => undefined))).toMatchObject({ code: 'key_wrong' })
  })

  it('may not select a key provider by flags besides', async () => {
    const flags = ['--encryption-key-provider', 'key-dir', '--encryption-key-dir', '/nonexistent']
    const starting = startServer({ flags, keyProvider: dataKeyProvider(remembering().service) })
    expect(await rejectionOf(starting)).toMatchObject({ code: 'config_invalid' })
  })
})
