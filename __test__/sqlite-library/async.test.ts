/** Statements on native threads: that they say what the synchronous ones say, and when they stop. */
import fc from 'fast-check'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Database, SqliteError } from '../../src/index.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { count, ENDLESS } from './asking.js'

const GENTLE_MS = 1000

const kinds = {
  plain: (file: string): Database => new Database(file),
  'with a key': (file: string): Database => new Database(file, { key: randomBytes(32) }),
  'with a key, exclusive': (file: string): Database => new Database(file, { key: randomBytes(32), exclusive: true }),
  'with a key provider': (file: string): Database => {
    const masterKeyFile = writeIn(path.dirname(path.dirname(file)), 'master.key', randomBytes(32), 0o400)
    return new Database(file, { keyProvider: { provider: 'master-key-file', masterKeyFile } })
  },
}

describe.each(Object.entries(kinds))('a database %s', (_kind, open) => {
  function opened(): Database {
    const directory = path.join(temporaryDirectory(), 'data')
    mkdirSync(directory)
    const database = open(path.join(directory, 'app.sqlite3'))
    onTestFinished(() => void database.close())
    database.pragma('journal_mode = WAL')
    database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b)')
    return database
  }

  test('gives the rows that synchronous statements give', async () => {
    const database = opened()
    const value = fc.oneof(
      fc.constant(null),
      fc.double(),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('', 'a\0b', '\ud800', 'é'.repeat(5000)),
      fc.uint8Array({ maxLength: 100 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 30 }), fc.boolean(), async (values, safe) => {
        database.defaultSafeIntegers(safe)
        database.exec('DELETE FROM t')
        for (const [index, given] of values.entries()) {
          const { changes, lastInsertRowid } = await database.async.run(
            'INSERT INTO t VALUES (?, ?, ?)',
            index,
            index,
            given,
          )
          expect([changes, Number(lastInsertRowid), typeof lastInsertRowid]).toEqual([
            1,
            index,
            safe ? 'bigint' : 'number',
          ])
        }
        const sql = 'SELECT *, b AS "__proto__" FROM t WHERE id >= $from ORDER BY id'
        const wanted = database.prepare(sql).all({ from: 0 })
        expect(await database.async.all(sql, { from: 0 })).toEqual(wanted)
        expect(await database.async.get(sql, { from: 0 })).toEqual(wanted[0])
        const iterated: unknown[] = []
        for await (const row of database.async.iterate(sql, { from: 0 })) iterated.push(row)
        expect(iterated).toEqual(wanted)
      }),
      { numRuns: 20 },
    )
    expect(await database.async.get('SELECT * FROM t WHERE id = -1')).toBeUndefined()
    expect(await database.async.all('UPDATE t SET b = 1 RETURNING id')).toHaveLength(
      (await database.async.all('SELECT id FROM t')).length,
    )
  })

  test('says what is wrong as synchronous statements say it', async () => {
    const database = opened()
    database.function('twice', (x: number) => 2 * x)
    await database.async.run('INSERT INTO t (a) VALUES (1)')
    const refused: [string, unknown[], { name: string; message: string | RegExp; code?: string }][] = [
      [
        'INSERT INTO t (a) VALUES (1)',
        [],
        { name: 'SqliteError', message: /UNIQUE/, code: 'SQLITE_CONSTRAINT_UNIQUE' },
      ],
      ['SELEC', [], { name: 'SqliteError', message: /syntax/, code: 'SQLITE_ERROR' }],
      ['SELECT ?', [], { name: 'RangeError', message: 'Too few parameter values were provided' }],
      ['SELECT ?', [true], { name: 'TypeError', message: /can only bind/ }],
      ['SELECT 1; SELECT 2', [], { name: 'RangeError', message: /more than one/ }],
      [
        'SELECT twice(1)',
        [],
        { name: 'SqliteError', message: /functions and tables of JavaScript/, code: 'SQLITE_ERROR' },
      ],
      ['BEGIN', [], { name: 'SqliteError', message: /transactions/, code: 'SQLITE_AUTH' }],
      ['PRAGMA foreign_keys = 0', [], { name: 'SqliteError', message: /settings/, code: 'SQLITE_AUTH' }],
      ['CREATE TEMP TABLE x (y)', [], { name: 'SqliteError', message: /temporary/, code: 'SQLITE_AUTH' }],
    ]
    for (const [sql, values, { name, message, code }] of refused) {
      const wanted: Record<string, unknown> = {
        name,
        message: typeof message === 'string' ? message : expect.stringMatching(message),
      }
      if (code !== undefined) wanted['code'] = code
      await expect(database.async.run(sql, ...values), sql).rejects.toMatchObject(wanted)
    }
    await expect(database.async.all('DELETE FROM t')).rejects.toThrow('This statement does not return data')
    expect(await database.async.get('SELECT count(*) AS c FROM t')).toEqual({ c: 1 })
  })

  test('leaves the event loop alone during a long query, and ends it within a second of its abort', async () => {
    const database = opened()
    const controller = new AbortController()
    const reason = new Error('enough')
    const query = database.async.with({ signal: controller.signal }).get(ENDLESS)
    let turns = 0
    for (const began = performance.now(); performance.now() - began < 200; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(turns).toBeGreaterThan(100)
    const began = performance.now()
    controller.abort(reason)
    await expect(query).rejects.toBe(reason)
    // Its thread is done with the file too: closing waits for that.
    database.close()
    expect(performance.now() - began).toBeLessThan(GENTLE_MS)
  })

  test('a write that is aborted has changed nothing, and those after it go on', async () => {
    const database = opened()
    const controller = new AbortController()
    const { signal } = controller
    const long = database.async.with({ signal }).run(`INSERT INTO t (b) ${ENDLESS}`)
    const waiting = database.async.with({ signal }).run('INSERT INTO t (b) VALUES (1)')
    const other = database.async.run('INSERT INTO t (b) VALUES (2)')
    controller.abort()
    const aborted = { status: 'rejected', reason: signal.reason as unknown }
    expect(await Promise.allSettled([long, waiting])).toEqual([aborted, aborted])
    await other
    expect(database.prepare('SELECT b FROM t').all()).toEqual([{ b: 2 }])
    await expect(database.async.with({ signal }).run('DELETE FROM t')).rejects.toBe(signal.reason)
    expect(database.prepare('SELECT b FROM t').all()).toEqual([{ b: 2 }])
  })

  test('an iteration holds one state, is ended by break, throw and abort, and leaves the file to others', async () => {
    const database = opened()
    database.exec(`INSERT INTO t (a, b) SELECT i, zeroblob(1000) FROM (${count(3000)})`)
    let seen = 0
    for await (const row of database.async.iterate<{ id: number }>('SELECT id, b FROM t')) {
      seen += 1
      if (seen === 1) database.exec('DELETE FROM t WHERE id > 10')
      expect(row.id).toBe(seen)
    }
    expect(seen).toBe(3000)
    database.exec(`INSERT INTO t (a, b) SELECT -i, zeroblob(1000) FROM (${count(3000)})`)
    const controller = new AbortController()
    for await (const row of database.async.iterate('SELECT * FROM t')) {
      expect(row).toBeDefined()
      break
    }
    const failing = async (): Promise<void> => {
      for await (const row of database.async.iterate('SELECT * FROM t')) throw new Error(typeof row)
    }
    await expect(failing()).rejects.toThrow('object')
    const aborting = async (): Promise<void> => {
      for await (const row of database.async.with({ signal: controller.signal }).iterate('SELECT * FROM t')) {
        expect(row).toBeDefined()
        controller.abort()
      }
    }
    const stopped = await aborting().catch((error: unknown) => error)
    expect(stopped).toBe(controller.signal.reason)
    expect(stopped).toBeDefined()
    // A reader that was still there would keep the log from being emptied.
    await expect(database.async.all('SELECT 1 AS one')).resolves.toEqual([{ one: 1 }])
    expect(database.pragma('wal_checkpoint(TRUNCATE)')).toEqual([{ busy: 0, log: 0, checkpointed: 0 }])
  })

  test('writes of both kinds take turns', async () => {
    const database = opened()
    const insert = database.prepare('INSERT INTO t (b) VALUES (?)')
    const asked: Promise<unknown>[] = []
    for (let turn = 0; turn < 100; turn += 1) {
      asked.push(database.async.run('INSERT INTO t (b) VALUES (?)', 'async'))
      insert.run('sync')
      if (turn % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(asked)
    expect(database.prepare('SELECT b, count(*) AS c FROM t GROUP BY b').all()).toEqual([
      { b: 'async', c: 100 },
      { b: 'sync', c: 100 },
    ])
  })

  test('closing ends what is under way', async () => {
    const database = opened()
    const query = expect(database.async.get(ENDLESS)).rejects.toMatchObject({ code: 'SQLITE_INTERRUPT' })
    const write = expect(database.async.run(`INSERT INTO t (b) ${ENDLESS}`)).rejects.toBeInstanceOf(SqliteError)
    const rows = database.async.iterate(count(100_000))
    await rows.next()
    database.close()
    await query
    await write
    const rest = async (): Promise<void> => {
      for await (const row of rows) expect(row).toBeDefined()
    }
    await expect(rest()).rejects.toMatchObject({ code: 'SQLITE_INTERRUPT' })
    await expect(database.async.get('SELECT 1')).rejects.toThrow('The database connection is not open')
  })
})

test('an iteration reads no further than two batches ahead of a consumer that waits', async () => {
  const database = new Database(path.join(temporaryDirectory(), 'a.sqlite3'))
  onTestFinished(() => void database.close())
  const before = process.memoryUsage().rss
  const rows = database.async.iterate(`SELECT i, randomblob(100000) AS b FROM (${count(1_000_000)})`)
  for (let row = 1; row <= 20; row += 1) {
    const { value } = await rows.next()
    expect(value).toMatchObject({ i: row })
  }
  await database.async.get('SELECT 1')
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20)
  await rows.return()
})

test('a database that is no lasting file has no asynchronous statements, and one that is read-only has those that read', async () => {
  await expect(new Database(':memory:').async.get('SELECT 1')).rejects.toThrow(TypeError)
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  new Database(file).exec('CREATE TABLE t (a); INSERT INTO t VALUES (7)').close()
  const database = new Database(file, { readonly: true })
  expect(await database.async.all('SELECT a FROM t')).toEqual([{ a: 7 }])
  await expect(database.async.run('DELETE FROM t')).rejects.toMatchObject({ code: 'SQLITE_READONLY' })
  database.close()
})

test('a process that exits does not wait for asynchronous statements', () => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const program = `
    import { Database } from ${JSON.stringify(path.resolve('dist/index.js'))}
    const database = new Database(${JSON.stringify(file)})
    database.exec('CREATE TABLE t (a)')
    for (let i = 0; i < 6; i += 1) database.async.get(${JSON.stringify(ENDLESS)}).catch(() => {})
    database.async.run(${JSON.stringify(`INSERT INTO t ${ENDLESS}`)}).catch(() => {})
    setTimeout(() => process.exit(7), 100)`
  const began = performance.now()
  expect(() => execFileSync(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' })).toThrow(
    expect.objectContaining({ status: 7 }),
  )
  // The exit's own patience with threads that go on is ten seconds.
  expect(performance.now() - began).toBeLessThan(5000)
  expect(new Database(file).prepare('SELECT count(*) AS c FROM t').get()).toEqual({ c: 0 })
})
