/** The fast path of rows against a naive one, the life of what rows hold, and what callbacks may do. */
import fc from 'fast-check'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', '\0', 'a\0b', '\ud800', 'x\udc00y', 'é', '😀'.repeat(40), 'a'.repeat(5000), 'é'.repeat(5000)),
)
const blob = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.constant(new Uint8Array(0)),
  fc.constant(new Uint8Array(7_000)),
)
const value = fc.oneof(
  fc.constant(null),
  fc.double(),
  fc.constantFrom(-0, 2 ** 53, -(2 ** 53), 2 ** 31, -(2 ** 31), 2 ** 32),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  text,
  blob,
)
const name = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'a', '@0@', '"', "'", '${x}', '\u2028', '0'),
  fc.string(),
)

/** What a value is once SQLite had it: text is UTF-8, NaN is NULL, a Buffer comes back. */
function expected(given: unknown, safeIntegers: boolean): unknown {
  if (typeof given === 'bigint') return safeIntegers ? given : Number(given)
  if (typeof given === 'number') return Number.isNaN(given) ? null : given
  if (typeof given === 'string') return given.toWellFormed()
  return given instanceof Uint8Array ? Buffer.from(given) : given
}

test('every value comes back as it went in, through every method, by itself and among many', () => {
  const database = new Database(':memory:')
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      fc.constantFrom(1, 2, 63, 64, 65, 130),
      (columns, safeIntegers, rows) => {
        const unique = [...new Map(columns)].filter(([column]) => !column.includes('\0'))
        fc.pre(unique.length > 0)
        const names = unique.map(([column]) => column.toWellFormed())
        fc.pre(new Set(names).size === names.length)
        const values = unique.map(([, given]) => given)
        const list = names.map((column) => `? AS "${column.replaceAll('"', '""')}"`).join(', ')
        const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT ${list} FROM n`
        const statement = database.prepare(sql).safeIntegers(safeIntegers)
        const wanted = values.map((given) => expected(given, safeIntegers))
        const object: Record<string, unknown> = {}
        for (const [index, column] of names.entries()) {
          Object.defineProperty(object, column, {
            value: wanted[index],
            enumerable: true,
            writable: true,
            configurable: true,
          })
        }
        const same = (row: unknown, other: unknown): void => {
          expect(Object.getPrototypeOf(row)).toBe(Object.getPrototypeOf(other))
          expect(Object.entries(row as object)).toStrictEqual(Object.entries(other as object))
        }
        same(statement.get(...values), object)
        const all = statement.all(...values)
        expect(all).toHaveLength(rows)
        same(all[0], object)
        same(all[rows - 1], object)
        const iterated = [...statement.iterate(...values)]
        expect(iterated).toHaveLength(rows)
        same(iterated[rows - 1], object)
        statement.raw()
        same(statement.get(...values), wanted)
        same(statement.all(...values).at(-1), wanted)
        statement.pluck()
        expect(statement.all(...values).at(-1)).toStrictEqual(wanted[0])
      },
    ),
    { numRuns: 25, interruptAfterTimeLimit: 10_000 },
  )
  database.close()
})

test('rows have the names of their own columns, whichever statements were asked before', () => {
  const database = new Database(':memory:')
  for (const names of [['a', 'bc'], ['ab', 'c'], ['abc'], ['[["abc"]]'], [''], ['a', ''], ['', 'a']]) {
    const list = names.map((column, index) => `${index} AS "${column.replaceAll('"', '""')}"`).join(', ')
    const row = Object.fromEntries(names.map((column, index) => [column, index]))
    expect(database.prepare(`SELECT ${list}`).get()).toEqual(row)
    expect(database.prepare(`SELECT ${list}`).all()).toEqual([row])
  }
  expect(database.prepare('SELECT 1 AS a, 2 AS a').get()).toEqual({ a: 2 })
  expect(database.pragma('foreign_keys = ON')).toEqual([])
  database.close()
})

test('invalid UTF-8 in the file becomes U+FFFD, as in a TextDecoder', () => {
  const database = new Database(':memory:')
  for (const bytes of [[0xff], [0xc3], [0xe2, 0x82], [0x61, 0xf0, 0x9f, 0x98, 0x62], [0xed, 0xa0, 0x80]]) {
    const hex = Buffer.from(bytes).toString('hex')
    const read = database.prepare(`SELECT CAST(x'${hex}' AS TEXT)`).pluck().get()
    expect(read).toBe(new TextDecoder().decode(Uint8Array.from(bytes)))
  }
})

test('rows follow a change of the schema in mid-life, for one row and for many', () => {
  const database = new Database(':memory:')
  database.exec("CREATE TABLE t (a); INSERT INTO t SELECT value FROM json_each('[1,2]')")
  const insert = database.prepare('INSERT INTO t (a) VALUES (?)')
  for (let row = 3; row <= 200; row += 1) insert.run(row)
  const statement = database.prepare('SELECT * FROM t')
  expect(statement.get()).toEqual({ a: 1 })
  database.exec('ALTER TABLE t ADD COLUMN b DEFAULT 7; ALTER TABLE t RENAME COLUMN a TO c')
  expect(statement.get()).toEqual({ c: 1, b: 7 })
  database.exec('ALTER TABLE t RENAME COLUMN b TO d')
  const all = statement.all()
  expect(all[0]).toEqual({ c: 1, d: 7 })
  expect(all[199]).toEqual({ c: 200, d: 7 })
  database.exec('ALTER TABLE t RENAME COLUMN d TO e')
  expect([...statement.iterate()][199]).toEqual({ c: 200, e: 7 })
})

test('without the permission to compile code rows are the same', () => {
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const script = `
    const database = require(${JSON.stringify(cjs)})(':memory:')
    const s = database.prepare('SELECT 1 AS a, 2 AS __proto__, t.x FROM (SELECT 3 AS x) AS t')
    console.log(JSON.stringify([s.get(), s.all(), s.raw().get(), s.raw(false).pluck().get()]))`
  const run = (...flags: string[]): string =>
    execFileSync(process.execPath, [...flags, '-e', script], { encoding: 'utf8' })
  const usual = run()
  expect(usual.trim()).toBe('[{"a":1,"__proto__":2,"x":3},[{"a":1,"__proto__":2,"x":3}],[1,2,3],1]')
  expect(run('--disallow-code-generation-from-strings')).toBe(usual)
})

test('one row of a hundred that is kept does not keep the others', () => {
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const script = `
    const database = require(${JSON.stringify(cjs)})(':memory:')
    const s = database.prepare("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i, printf('%01000d', i) AS t FROM n")
    gc()
    const before = process.memoryUsage().heapUsed
    const keep = () => s.all().filter(({ i }) => i % 100 === 0)
    const kept = keep()
    gc()
    console.log(kept.length, process.memoryUsage().heapUsed - before)`
  const [rows, bytes] = execFileSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' }).split(' ')
  expect(Number(rows)).toBe(1000)
  // 1,000 rows of 1 KB are 1 MB; all of them would be 100.
  expect(Number(bytes)).toBeLessThan(8_000_000)
})

describe('a callback', () => {
  test('that throws has the very object come out, from functions, aggregates and tables', () => {
    const database = new Database(':memory:')
    const thrown = { not: 'an Error' }
    const fail = (): never => {
      throw thrown as unknown as Error
    }
    database.function('f', fail)
    database.aggregate('step', { step: fail })
    database.aggregate('result', { start: 0, step: (total: number) => total, result: fail })
    database.aggregate('start', { start: fail, step: () => undefined })
    database.table('t', {
      columns: ['x'],
      *rows() {
        yield [1]
        fail()
      },
    })
    for (const sql of ['SELECT f()', 'SELECT step()', 'SELECT result()', 'SELECT start()', 'SELECT * FROM t']) {
      const statement = database.prepare(sql)
      for (const work of [
        () => statement.get(),
        () => statement.all(),
        () => [...statement.iterate()],
        () => database.exec(sql),
      ]) {
        if (sql.includes('FROM t') && work.toString().includes('.get()')) continue
        let caught: unknown = 'nothing'
        try {
          work()
        } catch (error) {
          caught = error
        }
        expect(caught, sql).toBe(thrown)
      }
    }
    expect(database.prepare('SELECT 1').pluck().get()).toBe(1)
    database.close()
  })

  test('cannot use, close or rekey the database whose statement runs it, and can use another', () => {
    const database = new Database(path.join(temporaryDirectory(), 'a'), { key: Buffer.alloc(32, 1) })
    const second = new Database(':memory:')
    const inner = database.prepare('SELECT 1')
    const attempts: (() => unknown)[] = [
      () => database.close(),
      () => database.exec('SELECT 1'),
      () => database.prepare('SELECT 1'),
      () => inner.get(),
      () => inner.all(),
      () => inner.iterate(),
      () => database.rekey(Buffer.alloc(32, 2)),
      () => database.serialize(),
      () => database.function('g', () => 1),
    ]
    let refused = 0
    database.function('f', () => {
      for (const attempt of attempts) {
        expect(attempt).toThrow(TypeError)
        refused += 1
      }
      return second.prepare('SELECT ? || ?').pluck().get('a', 'b')
    })
    expect(database.prepare('SELECT f()').pluck().get()).toBe('ab')
    expect(refused).toBe(attempts.length)
    database.close()
  })
})

test('a worker that is terminated in the middle of a statement leaves the process alive', async () => {
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const file = path.join(temporaryDirectory(), 'a')
  for (let round = 0; round < 3; round += 1) {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads')
       const database = require(${JSON.stringify(cjs)})(${JSON.stringify(file)}, { key: Buffer.alloc(32, 3) })
       database.function('f', (x) => { if (x === 1000) parentPort.postMessage('running'); return x })
       database.prepare('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(f(i)) FROM n').get()`,
      { eval: true },
    )
    await new Promise((resolve) => worker.once('message', resolve))
    await worker.terminate()
  }
  const database = new Database(file, { key: Buffer.alloc(32, 3) })
  expect(database.prepare('SELECT 1').pluck().get()).toBe(1)
  database.close()
})

test('process.exit with databases open, inside a statement too, ends with its code', () => {
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const file = path.join(temporaryDirectory(), 'a')
  const script = `
    const database = require(${JSON.stringify(cjs)})(${JSON.stringify(file)}, { key: Buffer.alloc(32, 4) })
    database.pragma('journal_mode = WAL')
    database.exec('CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)')
    database.function('leave', () => process.exit(0))
    const open = database.prepare('SELECT * FROM t').iterate(); open.next()
    if (process.argv[1] === 'inside') database.prepare('SELECT leave()').get()
    process.exit(0)`
  for (const where of ['inside', 'outside']) execFileSync(process.execPath, ['-e', script, where])
  const database = new Database(file, { key: Buffer.alloc(32, 4) })
  expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(2)
  database.close()
})
