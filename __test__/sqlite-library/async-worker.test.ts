/** A thread of JavaScript that ends while native threads work for it. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import { count, ENDLESS } from './asking.js'
import { kinds } from './kinds.js'

const CJS = path.resolve('dist/cjs/better-sqlite3.cjs')
const LIVES = 2
const TOLD = 20

/** Writes and tells of each, while reads, iterations and a long write are under way; `process.exit` ends the thread alone. */
const program = `
  const { parentPort, workerData: { cjs, file, options, exits } } = require('node:worker_threads')
  const Database = require(cjs)
  const database = new Database(file, options)
  const ignored = () => {}
  const writing = async () => {
    for (let number = 1; ; number += 1) {
      const { lastInsertRowid } = await database.async.run('INSERT INTO t (b) VALUES (?)', number)
      parentPort.postMessage(lastInsertRowid)
      if (number === ${TOLD + 1}) database.async.run(${JSON.stringify(`INSERT INTO t (b) ${ENDLESS}`)}).catch(ignored)
      if (number === ${TOLD} && exits) process.exit()
    }
  }
  const reading = async () => { for (;;) await database.async.all(${JSON.stringify(count(3000))}) }
  const iterating = async () => { for await (const row of database.async.iterate(${JSON.stringify(count(1e9))})) ignored(row) }
  const resting = database.async.iterate(${JSON.stringify(count(1e9))})
  resting.next().then(ignored)
  for (let each = 0; each < 2; each += 1) {
    database.async.get(${JSON.stringify(ENDLESS)}).catch(ignored)
    reading()
    iterating()
  }
  writing()`

/** Another process writes, and has the file for itself. */
function intruder(file: string, options: object): string {
  const script = `
    const Database = require(${JSON.stringify(CJS)})
    const { key, ...others } = ${JSON.stringify({ ...options, exclusive: true })}
    const database = new Database(${JSON.stringify(file)}, { ...others, ...(key && { key: Buffer.from(key) }), timeout: 0 })
    database.prepare('DELETE FROM t').run()
    database.close()
    console.log('wrote')`
  return execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim()
}

test.each(Object.keys(kinds).flatMap((kind) => ['terminate', 'process.exit'].map((end) => ({ kind, end }))))(
  'after $end under asynchronous work a file that is $kind is whole, and nobody has it',
  async ({ kind, end }) => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    const options = kinds[kind] ?? {}
    new Database(file, options)
      .exec('PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b)')
      .close()
    const told: unknown[] = []
    for (let life = 0; life < LIVES; life += 1) {
      const workerData = { cjs: CJS, file, options, exits: end === 'process.exit' }
      const worker = new Worker(program, { eval: true, workerData })
      const over = once(worker, 'exit')
      const lines = told.length + TOLD
      worker.on('message', (id: unknown) => {
        told.push(id)
        if (told.length === lines && end === 'terminate') void worker.terminate()
      })
      await over
      expect(told.length).toBeGreaterThanOrEqual(lines)
    }
    // One that is left over would keep out those that are not as it is.
    const database = new Database(file, { ...options, exclusive: options.exclusive !== true })
    const found = database.prepare('SELECT id FROM t').pluck().all()
    expect(found).toEqual(found.map((_, index) => index + 1))
    expect(found).toEqual(expect.arrayContaining(told))
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    database.close()
    expect(intruder(file, options)).toBe('wrote')
  },
)
