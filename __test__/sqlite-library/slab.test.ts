/** Numbers pass between JavaScript and native code through memory that all statements share: what must not disturb one another there. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { leave, leftStatement, library } from '../../src/native.js'

const MOST_VALUES = 64

test('a value that runs another statement when it is read leaves the values before it as they are', () => {
  const [database, other] = [new Database(':memory:'), new Database(':memory:')]
  database.exec('CREATE TABLE t (a, b, c)')
  const nested = other.prepare('SELECT ? AS x, ? AS y')
  const values = (): unknown[] => {
    const list = [1, 0, 'three']
    return Object.defineProperty(list, 1, {
      get: () => {
        expect(nested.get(98, 99)).toEqual({ x: 98, y: 99 })
        return 2
      },
    })
  }
  expect(database.prepare('SELECT ? AS a, ? AS b, ? AS c').get(values())).toEqual({ a: 1, b: 2, c: 'three' })
  database.prepare('INSERT INTO t VALUES (?, ?, ?)').run(values())
  database.prepare('INSERT INTO t VALUES (?, ?, 0)').run(values().slice(0, 1).concat(values()[1]))
  expect(database.prepare('SELECT * FROM t').raw().all()).toEqual([
    [1, 2, 'three'],
    [1, 2, 0],
  ])
})

test('a value that is another one when it is read again is the first', () => {
  const database = new Database(':memory:')
  let reads = 0
  const list = Object.defineProperty([1, 0], 1, { get: () => ((reads += 1) === 1 ? 'first' : 2) })
  expect(database.prepare('SELECT ? AS a, ? AS b').get(list)).toEqual({ a: 1, b: 'first' })
})

test('functions that run other statements while a row is computed leave it as it is', () => {
  const [database, other] = [new Database(':memory:'), new Database(':memory:')]
  const nested = other.prepare("SELECT 7 AS a, 7.5 AS b, 'another text' AS c, NULL AS d")
  database.function('f', (value: unknown) => {
    expect(nested.get()).toEqual({ a: 7, b: 7.5, c: 'another text', d: null })
    expect(other.prepare('SELECT ?').pluck().get(-1)).toBe(-1)
    return value
  })
  const statement = database.prepare("SELECT 1 AS a, f(?) AS b, 'text' AS c, f(2) AS d, 'é' AS e")
  expect(statement.get(2.5)).toEqual({ a: 1, b: 2.5, c: 'text', d: 2, e: 'é' })
  database.exec('CREATE TABLE t (a)')
  expect(database.prepare('INSERT INTO t VALUES (f(?))').run(5)).toEqual({ changes: 1, lastInsertRowid: 1 })
})

test('rows and parameters are whole at the edge of what the memory holds, and beyond', () => {
  const database = new Database(':memory:')
  for (const count of [1, MOST_VALUES - 1, MOST_VALUES, MOST_VALUES + 1, 300]) {
    const sql = `SELECT ${Array.from({ length: count }, (_, column) => `? AS c${column}`).join(', ')}`
    const statement = database.prepare(sql)
    const numbers = Array.from({ length: count }, (_, column) => column * 1.5)
    const mixed = numbers.map((number, column) => [number, `t${column}`, null, 2n ** 40n][column % 4])
    const objectOf = (values: unknown[]): object => Object.fromEntries(values.map((value, at) => [`c${at}`, value]))
    for (const values of [numbers, mixed]) {
      const wanted = values.map((value) => (typeof value === 'bigint' ? Number(value) : value))
      expect(statement.get(values)).toEqual(objectOf(wanted))
      expect(statement.get(...values)).toEqual(objectOf(wanted))
      expect(statement.raw().get(values)).toEqual(wanted)
      statement.raw(false)
    }
  }
})

test('texts are cut where they end, whatever they are of and however long', () => {
  for (const encoding of ['UTF-8', 'UTF-16le']) {
    const database = new Database(':memory:')
    database.pragma(`encoding = '${encoding}'`)
    const statement = database.prepare('SELECT ? AS a, ? AS b, ? AS c, ? AS d')
    for (const length of [0, 1, 12, 13, 127, 128, 129, 255, 256, 257, 5000]) {
      for (const unit of ['x', 'é', '漢', '😀', '\0']) {
        const long = unit.repeat(length)
        expect(statement.get(long, 1, long, 'end')).toEqual({ a: long, b: 1, c: long, d: 'end' })
        expect(statement.get('', long, '', 'é')).toEqual({ a: '', b: long, c: '', d: 'é' })
      }
    }
    const broken = database.prepare("SELECT CAST(x'61ff' AS TEXT) AS a, 'é' AS b, CAST(x'c3' AS TEXT) AS c, 1 AS d")
    if (encoding === 'UTF-8') expect(broken.get()).toEqual({ a: 'a\ufffd', b: 'é', c: '\ufffd', d: 1 })
    database.close()
  }
})

test('a short text that is kept does not keep the long ones of its row', () => {
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const script = `
    const database = require(${JSON.stringify(cjs)})(':memory:')
    const s = database.prepare("SELECT printf('%020d', ?) AS name, printf('%0100000d', ?) AS body")
    gc()
    const before = process.memoryUsage().heapUsed
    const kept = []
    for (let row = 0; row < 300; row += 1) kept.push(s.get(row, row).name)
    gc()
    console.log(kept.length, process.memoryUsage().heapUsed - before)`
  const [rows, bytes] = execFileSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' }).split(' ')
  expect(Number(rows)).toBe(300)
  // All of them would be 30 MB.
  expect(Number(bytes)).toBeLessThan(3_000_000)
})

test('no text of a call stays bound after it: it lies in memory that the call gives back', () => {
  const database = library.open(':memory:', 0, 0)
  expect(library.prepare(database, 'SELECT ?, ?', true)).toBe('\0\0')
  const { handle: statement } = leftStatement()
  expect(leave(statement, ['text', 2])).toBe(false)
  library.run('text', 2)
  expect(library.expandedSql(statement)).toBe('SELECT NULL, NULL')
  library.close(database)
})
