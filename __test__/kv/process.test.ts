/** What becomes of a store whose process ends, is killed, or meets a full disk. */
import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { KvStore } from '../../src/native.js'
import { ended, runChild, startChild } from '../support/child.js'
import { temporaryDirectory } from '../support/directory.js'
import { bytes, same, text } from './forms.js'
import { knownEncryption } from './known.js'

const EXIT = new URL('./child/exit.ts', import.meta.url)
const FULL = new URL('./child/full.ts', import.meta.url)
const IDLE = new URL('./child/idle.ts', import.meta.url)
const OPEN = new URL('./child/open.ts', import.meta.url)
const STORM = new URL('./child/storm.ts', import.meta.url)
const WORKER = new URL('./child/worker.ts', import.meta.url)
const NAMES = ['plain', 'sealed']
const encryptionOf = (name: string) => (name === 'sealed' ? knownEncryption() : undefined)
const EVERYTHING = { limit: 1e9, mostBytes: 1e9 }

describe.each(NAMES)('a process that is killed while it writes a %s file', (name) => {
  it('loses nothing that was acknowledged and leaves no write in part', async () => {
    const file = path.join(temporaryDirectory(), 'a.redb')
    await KvStore.open({ path: file, mode: 'create', encryption: encryptionOf(name) }).close()
    let acknowledged = 0
    for (let round = 0; round < 5; round++) {
      const storm = startChild(STORM, [file, name])
      const end = ended(storm)
      await new Promise((resolve) => storm.stdout?.once('data', resolve))
      // The moment of the kill, not a wait for something to happen.
      await delay(Math.random() * 150)
      storm.kill('SIGKILL')
      const { stdout, stderr } = await end
      expect(stderr).toBe('')
      const told = stdout.split('\n').slice(0, -1).map(Number)
      const store = KvStore.open({ path: file, mode: 'open', encryption: encryptionOf(name) })
      const snapshot = store.snapshot()
      const found = new Map(snapshot.range('t', EVERYTHING).pairs.map(([key, value]) => [text(key), text(value)]))
      for (const number of told) expect(found.has(`${String(number)}/0`), `acknowledged ${String(number)}`).toBe(true)
      const last = Number(found.get('last'))
      let rows = 1
      // Writes are numbered in the order of their calls: what is there are all of them up to the last.
      for (let number = 1; number <= last; number++) {
        for (let index = 0; index <= number % 5; index++) {
          expect(found.get(`${String(number)}/${String(index)}`)).toBe(`${String(number)} `.repeat(number % 300))
          rows += 1
        }
      }
      expect(found.size).toBe(rows)
      snapshot.close()
      expect((await store.check()).sound).toBe(true)
      await store.close()
      acknowledged += told.length
    }
    expect(acknowledged).toBeGreaterThan(50)
  }, 60_000)
})

describe.each(NAMES)('a %s file that can grow no more', (name) => {
  it('keeps what was acknowledged, refuses the rest, and is whole when it is opened again', async () => {
    const file = path.join(temporaryDirectory(), 'a.redb')
    const loader = fileURLToPath(new URL('../support/typescript.mjs', import.meta.url))
    const script = [process.execPath, '--import', loader, fileURLToPath(FULL), file, name]
    // A limit on the length of files, in KiB; without the trap its signal would kill the process.
    const shell = spawn('bash', ['-c', `ulimit -f 4096; trap '' XFSZ; exec "$@"`, 'bash', ...script])
    const { stdout, stderr } = await ended(shell)
    expect(stderr).toBe('')
    const lines = stdout.trim().split('\n')
    const acknowledged = lines.filter((line) => line.startsWith('acknowledged'))
    expect(lines.slice(acknowledged.length)).toEqual([
      expect.stringMatching(/^refused disk_full( disk_full| io_error)?$/),
      'later io_error',
      'closed',
    ])
    expect(acknowledged.length).toBeGreaterThan(20)
    expect(statSync(file).size).toBeLessThanOrEqual(4096 * 1024)
    const store = KvStore.open({ path: file, mode: 'open', encryption: encryptionOf(name) })
    for (const [number] of acknowledged.entries()) {
      const value = store.get('t', bytes(String(number).padStart(6, '0')))
      expect(same(value, new Uint8Array(20_000).fill(number)), String(number)).toBe(true)
    }
    await store.write([{ table: 't', key: bytes('after'), value: bytes('all') }])
    expect((await store.check()).sound).toBe(true)
    await store.close()
  }, 30_000)
})

describe('a process with an open store', () => {
  it('is named to another that would open the file', async () => {
    const file = path.join(temporaryDirectory(), 'a.redb')
    const store = KvStore.open({ path: file, mode: 'create' })
    const { stdout, stderr } = await runChild(OPEN, [file])
    expect(stdout.trim(), stderr).toBe(`file_busy ${String(process.pid)}`)
    await store.close()
    expect((await runChild(OPEN, [file])).stdout.trim()).toBe('opened')
  })

  it('lives until its requests are answered, and no longer', async () => {
    const file = path.join(temporaryDirectory(), 'a.redb')
    const { status, stdout, stderr } = await runChild(IDLE, [file])
    expect({ status, stdout: stdout.trim() }, stderr).toEqual({ status: 0, stdout: 'answered 1' })
  })

  it.each([
    ['exit', 7],
    ['throw', 1],
    ['end', 0],
  ])(
    'does not crash when it ends in the middle of its work (%s)',
    async (how, status) => {
      const directory = temporaryDirectory()
      for (let round = 0; round < 4; round++) {
        const file = path.join(directory, `${String(round)}.redb`)
        const { status: found, signal, stderr } = await runChild(EXIT, [file, how])
        expect({ status: found, signal }, stderr).toEqual({ status, signal: null })
        const store = KvStore.open({ path: file, mode: 'open' })
        expect((await store.check()).sound).toBe(true)
        await store.close()
      }
    },
    30_000,
  )

  it('survives workers that are terminated in the middle of their work, and so do their files', async () => {
    const directory = temporaryDirectory()
    const { status, signal, stdout, stderr } = await runChild(WORKER, [directory])
    expect({ status, signal, stdout: stdout.trim() }, stderr).toEqual({ status: 0, signal: null, stdout: 'survived' })
    const files = readdirSync(directory).filter((name) => name.endsWith('.redb'))
    expect(files).toHaveLength(10)
    for (const name of files) {
      const store = KvStore.open({ path: path.join(directory, name), mode: 'open' })
      expect((await store.check()).sound).toBe(true)
      await store.close()
    }
  }, 60_000)
})
