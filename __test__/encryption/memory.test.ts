import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseManifest } from '../../src/manifest/parse.js'
import { startChild } from '../support/child.js'
import { place } from './setup.js'

const KEEPER = new URL('./child/keeper.ts', import.meta.url)

/** A range of a process's memory, with the flags that say what the kernel does with it (proc(5), `smaps`, "VmFlags"). */
interface Mapping {
  readonly start: number
  readonly end: number
  readonly name: string
  readonly flags: ReadonlySet<string>
}

function mappingsOf(pid: number): Mapping[] {
  const entries = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  return entries.flatMap((entry) => {
    const [, start = '', end = '', access = '', name = ''] = /^(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)/.exec(entry) ?? []
    if (!access.startsWith('r') || name === '[vvar]' || name === '[vsyscall]') return []
    const flags = new Set(/^VmFlags: (.*)$/m.exec(entry)?.[1]?.trim().split(' '))
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), name, flags }]
  })
}

/** The mappings of the process that hold these bytes. */
function holders(pid: number, wanted: Buffer): Mapping[] {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const chunk = Buffer.alloc(4 << 20)
  try {
    return mappingsOf(pid).filter(({ start, end }) => {
      for (let at = start; at < end; at += chunk.length - wanted.length) {
        const count = readSafely(memory, chunk, Math.min(chunk.length, end - at), at)
        if (chunk.subarray(0, count).includes(wanted)) return true
      }
      return false
    })
  } finally {
    closeSync(memory)
  }
}

/** 0 for memory that even its owner may not read. */
function readSafely(memory: number, into: Buffer, length: number, at: number): number {
  try {
    return readSync(memory, into, 0, length, at)
  } catch {
    return 0
  }
}

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
