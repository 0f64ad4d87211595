import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { startChild } from '../support/child.js'
import { temporaryDirectory } from '../support/directory.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'
import { holders } from '../support/process-memory.js'

const KEEPER = new URL('./child/kms-keeper.ts', import.meta.url)

describe('a process that has made, wrapped, unwrapped and rewrapped a DEK with a KMS', () => {
  it('holds it in no JavaScript object, and in no memory that is swapped or dumped', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', FAKE_CREDENTIALS.id)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', FAKE_CREDENTIALS.secret)
    const kms = await FakeKms.start()
    const arns = [kms.addKey('one'), kms.addKey('two')]
    const snapshot = path.join(temporaryDirectory(), 'keeper.heapsnapshot')
    const child = startChild(KEEPER, [kms.url, FAKE_REGION, snapshot])
    const outcomes = await new Promise((resolve, reject) => {
      child.stdout?.once('data', (text) => resolve(String(text)))
      child.once('exit', () => reject(new Error('the child ended')))
    })
    expect(outcomes).toBe('opened opened rewrapped\n')
    expect(kms.requests).toEqual(['GenerateDataKey', 'Decrypt', 'Encrypt', 'Decrypt', 'ReEncrypt'])
    const [dek = Buffer.alloc(0), ...others] = kms.plaintexts
    expect(others.every((other) => other.equals(dek))).toBe(true)

    const heap = readFileSync(snapshot)
    // What is not secret must be found, or looking for the key proves nothing.
    for (const arn of arns) expect(heap.includes(arn)).toBe(true)
    expect(heap.includes(dek)).toBe(false)
    expect(heap.includes([...dek].join(','))).toBe(false)
    for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      expect(heap.includes(dek.toString(encoding)), encoding).toBe(false)
    }

    if (child.pid === undefined) return expect.fail('the child has no pid')
    const raw = holders(child.pid, dek)
    expect(raw.length).toBeGreaterThan(0)
    expect(raw.filter(({ flags }) => !flags.has('lo') || !flags.has('dd'))).toEqual([])
    for (const encoding of ['hex', 'base64', 'base64url'] as const) {
      expect(holders(child.pid, Buffer.from(dek.toString(encoding))), encoding).toEqual([])
    }
    child.stdin?.end('enough\n')
  }, 60_000)
})
