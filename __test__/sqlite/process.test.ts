import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SqliteStore } from '../../src/native.js'

/** The child uses the addon directly: no transpiler is at hand there, and only the addon is meant. */
const ADDON = resolve(`nimbus.${process.platform}-${process.arch}-gnu.node`)

const PRELUDE = `
  const { createRequire } = require('node:module')
  const { workerData, isMainThread, Worker } = require('node:worker_threads')
  const addon = require(${JSON.stringify(ADDON)})
  const open = (path, create) => addon.NativeStore.open(
    { path, create, exclusive: true, dek, fileId, profile: 'sqlcipher-4-sha256' }, () => undefined)
  const openPlain = (path, create) => addon.NativeStore.open({ path, create, exclusive: true }, () => undefined)
  const dek = addon.Dek.generate()
  const fileId = addon.randomBytes(16)
`

const run = (body: string, directory: string, environment: NodeJS.ProcessEnv = {}) =>
  spawnSync(process.execPath, ['-e', `${PRELUDE}\nconst directory = ${JSON.stringify(directory)}\n${body}`], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    // Far less than the ten seconds for which the exit handler would wait for a thread that never ends.
    timeout: 8_000,
  })

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nimbus-process-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const BUSY = `
  const store = open(directory + '/' + process.pid + '.sqlite3', true)
  store.write([{ id: 1, steps: [{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' }] }])
  for (let id = 2; id < 3000; id++) {
    store.write([{ id, steps: [{ sql: 'INSERT INTO t VALUES (?, ?)', params: [id, 'x'.repeat(500)] }] }])
    if (id % 100 === 0) store.query(id + 10000, 'SELECT sum(length(body)) FROM t', [])
  }
`

describe('a process that ends while native threads work', () => {
  it.each([
    ['process.exit', 'setTimeout(() => process.exit(7), Math.random() * 30)', 7],
    ['an uncaught exception', 'setTimeout(() => { throw new Error("on purpose") }, Math.random() * 30)', 1],
    ['the end of the script', '', 0],
  ])(
    'by %s does not crash',
    (_, ending, status) => {
      for (let round = 0; round < 25; round++) {
        const child = run(`${BUSY}\n${ending}`, directory)
        expect({ status: child.status, signal: child.signal }, child.stderr).toEqual({ status, signal: null })
      }
    },
    120_000,
  )
})

describe('worker threads', () => {
  it('that are terminated in mid-work leave the process alive and their files whole', async () => {
    const child = run(
      `
      const worker = ${JSON.stringify(`${PRELUDE}
        const directory = workerData
        ${BUSY.replace("open(directory + '/' + process.pid", "openPlain(directory + '/' + require('node:worker_threads').threadId")}
        require('node:worker_threads').parentPort.postMessage('open')
        setInterval(() => store.get('SELECT count(*) FROM sqlite_schema', []), 1)
      `)}
      const rounds = async () => {
        for (let round = 0; round < 20; round++) {
          const workers = [0, 1].map(() => new Worker(worker, { eval: true, workerData: directory }))
          await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 40))
          await Promise.all(workers.map((worker) => worker.terminate()))
        }
        console.log('survived')
      }
      rounds()
      `,
      directory,
    )
    expect({ status: child.status, signal: child.signal, stdout: child.stdout.trim() }, child.stderr).toEqual({
      status: 0,
      signal: null,
      stdout: 'survived',
    })
    const files = readdirSync(directory).filter((name) => name.endsWith('.sqlite3'))
    expect(files).toHaveLength(40)
    for (const name of files) {
      const store = SqliteStore.open({ path: join(directory, name), mode: 'open', exclusive: true })
      expect(await store.query('PRAGMA integrity_check', [])).toEqual([['ok']])
      await store.close()
    }
  }, 60_000)
})

describe('a file that one process keeps for itself', () => {
  it.each([true, false])(
    'is busy for another process (which opens it exclusively: %s)',
    async (exclusive) => {
      const path = join(directory, 'a.sqlite3')
      const store = SqliteStore.open({ path, mode: 'create', exclusive: true })
      await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }])
      const child = run(
        `try {
        addon.NativeStore.open({ path: ${JSON.stringify(path)}, create: false, exclusive: ${String(exclusive)} }, () => undefined)
        console.log('opened')
      } catch (error) { console.log(error.code) }`,
        directory,
      )
      expect(child.stdout.trim(), child.stderr).toBe('file_busy')
      await store.close()
    },
    30_000,
  )
})

describe('a process that gets no more threads', () => {
  it('answers every request all the same', () => {
    const path = join(directory, 'a.sqlite3')
    // The standard library of Rust asks for stacks of this size, which no system gives.
    const child = run(
      `const answers = []
      const store = addon.NativeStore.open({ path: ${JSON.stringify(path)}, create: true, exclusive: true }, (completions) => {
        for (const { id, failure } of completions) answers.push(failure?.message ?? id)
        if (answers.length === 4) { console.log(answers.join()); process.exit(0) }
      })
      setInterval(() => undefined, 1000)
      store.write([{ id: 1, steps: [{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }] }])
      store.write([{ id: 2, steps: [{ sql: 'INSERT INTO t VALUES (1)' }] }])
      store.query(3, 'SELECT * FROM t', [])
      store.close(4)`,
      directory,
      { RUST_MIN_STACK: String(2 ** 46) },
    )
    expect({ stdout: child.stdout.trim(), signal: child.signal }, child.stderr).toEqual({
      stdout: '1,2,3,4',
      signal: null,
    })
  })
})

describe('a hardened process', () => {
  it('is not dumpable', () => {
    const child = run('console.log(addon.hardenProcess())', directory)
    expect(child.stdout.trim()).toBe('false')
  })
})
