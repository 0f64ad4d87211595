/** What a process keeps: nothing of statements and rows that nobody holds, and no key where it could be swapped, dumped or seen. */
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../support/directory.js'
import { holders } from '../support/process-memory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The package as it is built: what a transpiler takes is not to be measured. */
const prelude = `
  const { Database, Store, utf8 } = await import(${JSON.stringify(path.join(root, 'dist/index.js'))})
  const { readFileSync } = await import('node:fs')
  const mebibytes = () => {
    for (let n = 0; n < 4; n++) gc()
    return Number(/VmRSS:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
  }
`

function mebibytesOf(program: string): number[] {
  const values = ['--expose-gc', '--input-type=module', '--eval', prelude + program]
  return JSON.parse(execFileSync(process.execPath, values, { encoding: 'utf8' })) as number[]
}

test('a million statements, run and let go, leave the process as large as the first hundred thousand', () => {
  const [early = 0, late = 0] = mebibytesOf(`
    const database = new Database(':memory:', { key: new Uint8Array(32).fill(7) })
    database.exec('CREATE TABLE t (a, b)')
    const use = (count) => {
      for (let n = 0; n < count; n++) {
        const insert = database.prepare('INSERT INTO t VALUES (?, ?)')
        if (n % 100 === 0) insert.run(n, 'row')
        database.prepare('SELECT a, b FROM t WHERE rowid = ?').get(1 + (n % 1000))
        if (n % 10_000 === 0) database.exec('DELETE FROM t')
      }
      return mebibytes()
    }
    console.log(JSON.stringify([use(50_000), use(450_000)]))`)
  expect(early).toBeGreaterThan(20)
  expect(late - early).toBeLessThan(16)
}, 120_000)

test('a million rows that were held and let go leave the process as it was', () => {
  const [before = 0, held = 0, after = 0] = mebibytesOf(`
    const database = new Database(':memory:')
    const rows = database.prepare(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i, 'row ' || i AS text, randomblob(40) AS blob FROM n",
    )
    // Once before the measurement: the heap has then grown to what the collector keeps for itself.
    const hold = () => {
      const held = Array.from({ length: 10 }, () => rows.all())
      const large = mebibytes()
      return [large, held.flat().length]
    }
    hold()
    const before = mebibytes()
    const [held, count] = hold()
    if (count !== 1_000_000) throw new Error(String(count))
    console.log(JSON.stringify([before, held, mebibytes()]))`)
  expect(held - before).toBeGreaterThan(100)
  expect(after - before).toBeLessThan(32)
}, 120_000)

test('a process with an encrypted database and a store open holds their keys in locked memory alone', async () => {
  const directory = temporaryDirectory()
  const heapFile = path.join(directory, 'process.heapsnapshot')
  // The caller's own copy is the caller's: it makes the key natively and wipes it.
  const program = `
    ${prelude}
    const { writeHeapSnapshot } = await import('node:v8')
    const { getRandomValues } = await import('node:crypto')
    const [file, storeFile, heapFile] = process.argv.slice(1)
    const mask = new Uint8Array(32).fill(0x5a)
    const made = [new Uint8Array(32), new Uint8Array(32)].map((key) => getRandomValues(key))
    // The parent is told the keys masked: no form of them is ever in a string of this process.
    process.stdout.write(made.map((key) => Buffer.from(key.map((byte, n) => byte ^ mask[n])).toString('hex')).join(' ') + '\\n')
    const database = new Database(file, { key: made[0], wipeKey: true })
    database.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('not a secret')")
    if (database.prepare('SELECT a FROM t').get().a !== 'not a secret') throw new Error('not read')
    const store = await Store.open({ path: storeFile, key: made[1] })
    made[1].fill(0)
    await store.table('t', { keys: utf8, values: utf8 }).put('a', 'not a secret either')
    gc()
    writeHeapSnapshot(heapFile)
    process.stdout.write('ready\\n')
    process.stdin.resume().once('end', () => process.exit())
    globalThis.held = [database, store]
  `
  const files = ['a.sqlite3', 'a.redb'].map((name) => path.join(directory, name))
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '--eval', program, ...files, heapFile], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const said = await new Promise<string>((resolve, reject) => {
    let all = ''
    child.stdout.on('data', (text) => {
      all += String(text)
      if (all.includes('ready')) resolve(all)
    })
    child.once('exit', () => reject(new Error(`the child ended: ${all}`)))
  })
  const [masked = ''] = said.split('\n')
  const keys = masked.split(' ').map((hex) => Buffer.from(hex, 'hex').map((byte) => byte ^ 0x5a))
  expect(keys.map((key) => key.length)).toEqual([32, 32])
  const { pid } = child
  if (pid === undefined) return expect.fail('the child has no pid')

  const heap = readFileSync(heapFile)
  // What is not secret must be found, or looking for the keys proves nothing.
  expect(heap.includes('not a secret')).toBe(true)
  expect(holders(pid, Buffer.from('not a secret either')).length).toBeGreaterThan(0)
  for (const key of keys.map((key) => Buffer.from(key))) {
    for (const form of [key, ...(['hex', 'base64'] as const).map((name) => Buffer.from(key.toString(name)))]) {
      expect(heap.includes(form)).toBe(false)
      // `lo`: never swapped; `dd`: left out of core dumps.
      expect(holders(pid, form).filter(({ flags }) => !flags.has('lo') || !flags.has('dd'))).toEqual([])
    }
  }
  child.stdin.end()
}, 60_000)
