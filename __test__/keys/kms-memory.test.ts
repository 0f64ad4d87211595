import { readFileSync } from 'node:fs'
import path from 'node:path'
import { gcmsiv } from '@noble/ciphers/aes.js'
import { describe, expect, it, vi } from 'vitest'
import { startChild } from '../support/child.js'
import { temporaryDirectory } from '../support/directory.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'
import { derive } from '../support/independent-keys.js'
import { holders } from '../support/process-memory.js'

const KEEPER = new URL('./child/kms-keeper.ts', import.meta.url)
const TLS = path.join(import.meta.dirname, '../fixtures/tls')
const NO_SALT = new Uint8Array()

/** docs/format.md, "Wrapped by a service", a second time. */
function dekUnder(dataKey: Uint8Array, wrapped: Uint8Array): Buffer {
  const wrapping = derive(dataKey, NO_SALT, 'data-key/wrapping-key')
  const encryption = derive(wrapping, NO_SALT, 'wrapping-key/encryption')
  expect(Buffer.from(wrapped.subarray(0, 32))).toEqual(derive(wrapping, NO_SALT, 'wrapping-key/commitment'))
  const header = Buffer.from('nimbus-enc/1 data key')
  return Buffer.from(gcmsiv(encryption, wrapped.subarray(32, 44), header).decrypt(wrapped.subarray(44, 92)))
}

/** The forms in which keys have been seen to stay behind. */
function formsOf(key: Buffer): [[form: string, bytes: Buffer], ...[form: string, bytes: Buffer][]] {
  const texts = (['hex', 'base64'] as const).map((name): [string, Buffer] => [name, Buffer.from(key.toString(name))])
  return [['raw', key], ...texts]
}

describe.each(['http', 'https'])(
  'a process that has made, wrapped, unwrapped and rewrapped DEKs with a KMS over %s',
  (scheme) => {
    it('holds no data key, and its DEK in no memory that is swapped or dumped', async () => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', FAKE_CREDENTIALS.id)
      vi.stubEnv('AWS_SECRET_ACCESS_KEY', FAKE_CREDENTIALS.secret)
      vi.stubEnv('NODE_EXTRA_CA_CERTS', path.join(TLS, 'cert.pem'))
      const [cert, key] = ['cert.pem', 'key.pem'].map((name) => readFileSync(path.join(TLS, name)))
      const kms = await FakeKms.start(scheme === 'https' && cert && key ? { cert, key } : undefined)
      const arns = [kms.addKey('one'), kms.addKey('two')]
      // Half of an answer holds a key too.
      kms.faults = (_operation, number) => ([3, 5, 8].includes(number) ? 'cut' : undefined)
      const snapshot = path.join(temporaryDirectory(), 'keeper.heapsnapshot')
      const child = startChild(KEEPER, [kms.url, FAKE_REGION, snapshot])
      const said = await new Promise<string>((resolve, reject) => {
        let stderr = ''
        child.stderr?.on('data', (text) => (stderr += String(text)))
        child.stdout?.once('data', (text) => resolve(String(text)))
        child.once('exit', () => reject(new Error(`the child ended: ${stderr}`)))
      })
      const { outcomes, wrapped } = JSON.parse(said) as { outcomes: string[]; wrapped: string }
      expect(outcomes).toEqual(['opened', 'opened', 'opened'])
      expect(kms.plaintexts.length).toBeGreaterThan(6)
      const dek = dekUnder(kms.plaintexts[1] ?? NO_SALT, Buffer.from(wrapped, 'hex'))

      const heap = readFileSync(snapshot)
      // What is not secret must be found, or looking for the key proves nothing.
      for (const arn of arns) expect(heap.includes(arn)).toBe(true)
      for (const key of [...kms.plaintexts, dek]) {
        for (const [form, bytes] of formsOf(key)) expect(heap.includes(bytes), form).toBe(false)
        // How the snapshot would spell an array of the bytes.
        expect(heap.includes([...key].join(','))).toBe(false)
      }

      if (child.pid === undefined) return expect.fail('the child has no pid')
      expect(holders(child.pid, Buffer.from(arns[1] ?? '')).length).toBeGreaterThan(0)
      for (const [form, bytes] of kms.plaintexts.flatMap(formsOf)) expect(holders(child.pid, bytes), form).toEqual([])
      const [[, raw], ...texts] = formsOf(dek)
      const locked = holders(child.pid, raw)
      expect(locked.length).toBeGreaterThan(0)
      expect(locked.filter(({ flags }) => !flags.has('lo') || !flags.has('dd'))).toEqual([])
      for (const [form, bytes] of texts) expect(holders(child.pid, bytes), form).toEqual([])
      child.stdin?.end('enough\n')
    }, 120_000)
  },
)
