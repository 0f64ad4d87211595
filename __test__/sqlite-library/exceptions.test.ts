/** An exception, or a bad page, fails the call that met it: not a later one, and not another database. */
import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Database } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const key = (): Uint8Array => new Uint8Array(32).fill(7)
const PAGE = 4096

function opened(file: string, options: ConstructorParameters<typeof Database>[1] = {}): Database {
  const database = new Database(file, options)
  onTestFinished(() => {
    database.close()
  })
  return database
}

/** A database with a table of a module whose factory fails by now: SQLite drops that failure while it lists tables. */
function withBrokenModule(): Database {
  const file = path.join(temporaryDirectory(), 'module.db')
  const before = new Database(file)
  before.table('made', () => ({
    columns: ['a'],
    *rows() {
      yield [1]
    },
  }))
  before.exec('CREATE VIRTUAL TABLE v USING made(); CREATE TABLE t (x)')
  before.close()
  const database = opened(file)
  database.table('made', () => {
    throw new Error('the factory failed')
  })
  database.function('f', (x: unknown) => x)
  return database
}

function listTables(database: Database): void {
  expect(() => database.pragma('table_list')).toThrow('the factory failed')
}

function count(database: Database): unknown {
  return database.prepare('SELECT count(*) FROM t').pluck().get()
}

describe('after an exception that SQLite dropped', () => {
  test('run writes what it says', () => {
    const database = withBrokenModule()
    const insert = database.prepare('INSERT INTO t VALUES (f(?))')
    insert.run(5)
    listTables(database)
    expect(insert.run(6)).toEqual({ changes: 1, lastInsertRowid: 2 })
    expect(count(database)).toBe(2)
  })

  test('get, all and iterate return their rows', () => {
    const database = withBrokenModule()
    const select = database.prepare('SELECT f(6) AS x')
    listTables(database)
    expect(select.get()).toEqual({ x: 6 })
    listTables(database)
    expect(select.all()).toEqual([{ x: 6 }])
    listTables(database)
    expect([...select.iterate()]).toEqual([{ x: 6 }])
  })

  test('exec runs every statement', () => {
    const database = withBrokenModule()
    listTables(database)
    database.exec('INSERT INTO t VALUES (f(1)); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)')
    expect(count(database)).toBe(3)
  })

  test('and between its statements, a transaction ends with everything in it', () => {
    const database = withBrokenModule()
    const insert = database.prepare('INSERT INTO t VALUES (f(?))')
    const insertThree = database.transaction(() => {
      expect(database.inTransaction).toBe(true)
      for (let n = 0; n < 3; n += 1) {
        listTables(database)
        insert.run(n)
      }
    })
    listTables(database)
    insertThree()
    expect(database.inTransaction).toBe(false)
    expect(count(database)).toBe(3)
  })
})

test('an exception that SQLite drops while a statement runs comes out of that statement, however it is run', () => {
  const database = withBrokenModule()
  const list = (): ReturnType<Database['prepare']> => database.prepare('SELECT name FROM pragma_table_list')
  expect(() => list().get()).toThrow('the factory failed')
  expect(() => list().all()).toThrow('the factory failed')
  expect(() => [...list().iterate()]).toThrow('the factory failed')
  expect(() => database.exec('SELECT name FROM pragma_table_list; INSERT INTO t VALUES (1)')).toThrow(
    'the factory failed',
  )
  expect(count(database)).toBe(0)
  expect(database.prepare('SELECT f(1) AS x').all()).toEqual([{ x: 1 }])
})

/** Rows on many pages, one of which is then changed on the disk. */
function damaged(directory: string): string {
  const file = path.join(directory, 'damaged.db')
  const database = new Database(file, { key: key() })
  database.exec('CREATE TABLE t (x); CREATE TABLE u (y)')
  const insert = database.prepare('INSERT INTO t VALUES (zeroblob(3000))')
  for (let n = 0; n < 20; n += 1) insert.run()
  database.close()
  damage(file, 10)
  return file
}

function damage(file: string, page: number): void {
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, Uint8Array.of(1, 2, 3, 4), 0, 4, page * PAGE + 100)
  closeSync(descriptor)
}

const SUM = 'SELECT sum(length(x)) FROM t'

describe('a bad page', () => {
  test('of a database that a function reads is not one of the database that calls the function', () => {
    const directory = temporaryDirectory()
    const other = opened(damaged(directory), { key: key() })
    const healthy = opened(path.join(directory, 'healthy.db'), { key: key() })
    healthy.function('sum_of_other', () => {
      try {
        return other.prepare(SUM).pluck().get()
      } catch (error) {
        return (error as { code: string }).code
      }
    })
    expect(healthy.prepare('SELECT sum_of_other() AS x').get()).toEqual({ x: 'SQLITE_CORRUPT' })
    expect(healthy.prepare('SELECT sum_of_other() AS x').all()).toEqual([{ x: 'SQLITE_CORRUPT' }])
    healthy.exec('CREATE TABLE t (x); INSERT INTO t VALUES (sum_of_other())')
    expect(count(healthy)).toBe(1)
    expect(() => other.prepare('SELECT 1')).toThrow(expect.objectContaining({ code: 'SQLITE_CORRUPT' }))
  })

  test('of a database that a function opens with a wrong key is not one of the database that calls the function', () => {
    const directory = temporaryDirectory()
    const file = damaged(directory)
    const healthy = opened(path.join(directory, 'healthy.db'), { key: key() })
    healthy.function('try_key', () => {
      expect(() => new Database(file, { key: new Uint8Array(32).fill(8) })).toThrow()
      return 'refused'
    })
    expect(healthy.prepare('SELECT try_key() AS x').get()).toEqual({ x: 'refused' })
    expect(healthy.prepare('SELECT 1 AS x').get()).toEqual({ x: 1 })
  })

  test('counts although a function of the same statement read a healthy database after it', () => {
    const directory = temporaryDirectory()
    const broken = opened(damaged(directory), { key: key() })
    const healthy = opened(path.join(directory, 'healthy.db'), { key: key() })
    broken.function('one', () => healthy.prepare('SELECT 1').pluck().get())
    expect(() => broken.prepare('SELECT length(x) + one() FROM t').all()).toThrow(
      expect.objectContaining({ code: 'SQLITE_CORRUPT' }),
    )
    expect(() => broken.prepare('SELECT 1')).toThrow(expect.objectContaining({ code: 'SQLITE_CORRUPT' }))
  })

  test('ends every use of the connection, and nothing of its open transaction is committed', () => {
    const file = damaged(temporaryDirectory())
    const broken = new Database(file, { key: key() })
    broken.exec('BEGIN; INSERT INTO u VALUES (1)')
    const corrupt = expect.objectContaining({ code: 'SQLITE_CORRUPT' }) as Error
    expect(() => broken.prepare(SUM).get()).toThrow(corrupt)
    expect(() => broken.exec('INSERT INTO u VALUES (2)')).toThrow(corrupt)
    expect(() => broken.exec('COMMIT')).toThrow(corrupt)
    expect(() => broken.serialize()).toThrow(corrupt)
    expect(() => broken.function('f', () => 1)).toThrow(corrupt)
    broken.close()
    expect(opened(file, { key: key() }).prepare('SELECT count(*) FROM u').pluck().get()).toBe(0)
  })

  test('ends the use of the connection even if a function of the same statement threw after it', () => {
    const file = path.join(temporaryDirectory(), 'overflow.db')
    const before = new Database(file, { key: key() })
    before.exec('CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(20000))')
    before.close()
    damage(file, statSync(file).size / PAGE - 1)
    const broken = opened(file, { key: key() })
    broken.function('fail', (_value: unknown) => {
      throw new Error('the function failed')
    })
    // SQLite hands the function zeros for the last page of a long value, and goes on.
    expect(() => broken.prepare('SELECT fail(x) FROM t').get()).toThrow('the function failed')
    expect(() => broken.exec('SELECT 1')).toThrow(expect.objectContaining({ code: 'SQLITE_CORRUPT' }))
  })
})

describe('a getter among named parameters', () => {
  const busy = 'This statement is busy executing a query'

  test('that begins an iteration over its own statement has the outer call refused', () => {
    const database = opened(':memory:')
    const select = database.prepare('SELECT @x AS x UNION ALL SELECT 2')
    for (const use of ['iterate', 'get', 'all', 'bind'] as const) {
      let inner: IterableIterator<unknown> | undefined
      const values = {
        get x() {
          inner = select.iterate({ x: 1 })
          return 3
        },
      }
      expect(() => select[use](values)).toThrow(busy)
      expect([...(inner ?? [])]).toEqual([{ x: 1 }, { x: 2 }])
    }
  })

  test('that begins an iteration over another statement has a write refused', () => {
    const database = opened(':memory:')
    database.exec('CREATE TABLE t (x)')
    const select = database.prepare('SELECT 1')
    let inner: IterableIterator<unknown> | undefined
    const values = {
      get x() {
        inner = select.iterate()
        return 3
      },
    }
    expect(() => database.prepare('INSERT INTO t VALUES (@x)').run(values)).toThrow('busy executing a query')
    inner?.return?.()
    expect(count(database)).toBe(0)
  })

  test('that closes the connection has the call refused', () => {
    const database = new Database(':memory:')
    const select = database.prepare('SELECT @x AS x')
    const values = {
      get x() {
        database.close()
        // Handles are given out again: the call would run this statement.
        opened(':memory:').prepare('SELECT @x AS of_another')
        return 3
      },
    }
    expect(() => select.get(values)).toThrow('The database connection is not open')
  })

  test('that binds its own statement for good has the call refused, and the bound values stay', () => {
    const database = opened(':memory:')
    const select = database.prepare('SELECT @x AS x')
    const values = {
      get x() {
        select.bind({ x: 1 })
        return 3
      },
    }
    expect(() => select.get(values)).toThrow('This statement already has bound parameters')
    expect(select.get()).toEqual({ x: 1 })
  })
})

test('a getter in an array of values that begins an iteration over its own statement has the call refused', () => {
  const database = opened(':memory:')
  const select = database.prepare('SELECT ? AS x')
  const begun: IterableIterator<unknown>[] = []
  const values: number[] = []
  Object.defineProperty(values, 0, {
    enumerable: true,
    get() {
      begun.push(select.iterate(1))
      return 3
    },
  })
  expect(() => select.iterate(values)).toThrow('This statement is busy executing a query')
  expect(begun.map((rows) => [...rows])).toEqual([[{ x: 1 }]])
  expect([...select.iterate(4)]).toEqual([{ x: 4 }])
})
