import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseManifest } from '../../src/manifest/parse.js'
import { startChild } from '../support/child.js'
import { holders } from '../support/process-memory.js'
import { place } from './setup.js'

const KEEPER = new URL('./child/keeper.ts', import.meta.url)

describe('a process that has opened files with a master key', () => {
  it('holds the key in no JavaScript object, and in no memory that is swapped or dumped', async () => {
    const { directory, keyFile, file } = await place()
    const key = readFileSync(keyFile)
    const snapshot = path.join(directory, 'keeper.heapsnapshot')
    const child = startChild(KEEPER, [keyFile, file, snapshot])
    await new Promise((resolve, reject) => {
      child.stdout?.once('data', resolve)
      child.once('exit', () => reject(new Error('the child ended')))
    })
    // The id of the key, which is not secret, must be found, or searching for the key proves nothing.
    const keyId = parseManifest(readFileSync(`${file}.nimbus-enc`), file).manifest.current.keyId

    const heap = readFileSync(snapshot)
    expect(heap.includes(keyId)).toBe(true)
    for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      expect(heap.includes(key.toString(encoding)), encoding).toBe(false)
    }
    expect(heap.includes(key.toString('hex').toUpperCase())).toBe(false)
    expect(heap.includes(key)).toBe(false)
    // How the snapshot would spell an array of the bytes.
    expect(heap.includes([...key].join(','))).toBe(false)

    if (child.pid === undefined) return expect.fail('the child has no pid')
    expect(holders(child.pid, Buffer.from(keyId)).length).toBeGreaterThan(0)
    const raw = holders(child.pid, key)
    expect(raw.length).toBeGreaterThan(0)
    const unprotected = raw.filter(({ flags }) => !flags.has('lo') || !flags.has('dd'))
    expect(unprotected).toEqual([])
    for (const encoding of ['hex', 'base64', 'base64url'] as const) {
      expect(holders(child.pid, Buffer.from(key.toString(encoding))), encoding).toEqual([])
    }
    child.stdin?.end('enough\n')
  }, 60_000)
})
