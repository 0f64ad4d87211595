/** Closing a database while its asynchronous statements wait or run, and what they may do inside of one another. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { count, ENDLESS, occupyReaders, opened, turns } from './asking.js'
import { KEY } from './kinds.js'

const INTERRUPT = { code: 'SQLITE_INTERRUPT' }

describe('a database that is closed', () => {
  test('does not wait for reads of other databases that are before its own', async () => {
    const database = opened()
    const rows = database.async.iterate(count(100_000))
    await rows.next()
    const release = occupyReaders()
    const reads = [database.async.get('SELECT 1'), database.async.all('SELECT 1')]
    // Its next batch waits for a thread too.
    const rest = (async () => {
      for await (const row of rows) expect(row).toBeDefined()
    })()
    await turns(5)
    database.close()
    // While the others go on.
    const rejected = { status: 'rejected', reason: INTERRUPT }
    expect(await Promise.allSettled([...reads, rest])).toMatchObject([rejected, rejected, rejected])
    await release()
  })

  test('has what was fulfilled and nothing of what was rejected', async () => {
    const database = opened()
    const { name } = database
    const asked = Array.from({ length: 200 }, (_, index) =>
      database.async.run('INSERT INTO t VALUES (?, ?, NULL)', index, index),
    )
    await asked[20]
    database.close()
    const outcomes = await Promise.allSettled(asked)
    const again = new Database(name, { key: KEY })
    const found = again.prepare('SELECT id FROM t').pluck().all()
    expect(found).toEqual(outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : [])))
    expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({ reason: INTERRUPT })
    again.close()
  })

  test.each([1, 999, 1000, 1001])(
    'in row %i of an iteration gives rows of what was read already, and ends it',
    async (closedIn) => {
      const database = opened()
      let seen = 0
      const reading = async (): Promise<void> => {
        for await (const row of database.async.iterate(count(100_000))) {
          seen += 1
          expect(row).toEqual({ i: seen })
          if (seen === closedIn) database.close()
        }
      }
      await expect(reading()).rejects.toMatchObject(INTERRUPT)
      expect(seen).toBeGreaterThanOrEqual(closedIn)
    },
  )

  test('by whoever waits for one of its statements rejects the others', async () => {
    const database = opened()
    const endless = [database.async.get(ENDLESS), database.async.run(`INSERT INTO t (b) ${ENDLESS}`)]
    const closed = database.async.get('SELECT 1').then(() => database.close())
    const rejected = { status: 'rejected', reason: INTERRUPT }
    expect(await Promise.allSettled(endless)).toMatchObject([rejected, rejected])
    await closed
    expect(() => database.close()).not.toThrow()
  })

  test('by the listener of a signal that stops its statements is closed', async () => {
    const database = opened()
    const controller = new AbortController()
    controller.signal.addEventListener('abort', () => void database.close())
    const asked = database.async.with({ signal: controller.signal }).run(`INSERT INTO t (b) ${ENDLESS}`)
    await turns(5)
    controller.abort()
    await expect(asked).rejects.toBe(controller.signal.reason)
    expect(database.open).toBe(false)
  })
})

describe('statements inside of others', () => {
  test('are done in a loop over an iteration, and in a loop in that', async () => {
    const database = opened()
    database.exec(`INSERT INTO t (b) SELECT 0 FROM (${count(50)})`)
    for await (const { id } of database.async.iterate<{ id: number }>('SELECT id FROM t')) {
      for await (const { b } of database.async.iterate<{ b: number }>('SELECT b FROM t WHERE id = ?', id)) {
        await database.async.run('UPDATE t SET b = ? WHERE id = ?', b + id, id)
      }
      database.prepare('UPDATE t SET b = b + 1 WHERE id = ?').run(id)
    }
    expect(await database.async.get('SELECT count(*) AS c FROM t WHERE b = id + 1')).toEqual({ c: 50 })
  })

  test('that a function of a synchronous statement asks for are refused or done, and never waited for', async () => {
    const database = opened()
    const asked: Promise<unknown>[] = []
    database.function('ask', () => {
      asked.push(database.async.run('INSERT INTO t (b) VALUES (1)'))
      return 1
    })
    expect(database.prepare('SELECT ask() AS one').get()).toEqual({ one: 1 })
    await expect(asked[0]).rejects.toThrow('This database connection is busy executing a query')
    await database.async.run('INSERT INTO t (b) VALUES (1)')
    // Known by now. It waits for the transaction of the statement, which does not wait for it.
    database.prepare('UPDATE t SET b = 2 * ask()').run()
    await expect(asked[1]).resolves.toMatchObject({ changes: 1 })
    expect(database.prepare('SELECT b FROM t').pluck().all()).toEqual([2, 1])
  })

  test('a database is not closed inside of a synchronous statement, and its asynchronous ones go on', async () => {
    const database = opened()
    database.function('close', () => void database.close())
    const asked = database.async.get('SELECT 1 AS one')
    expect(() => database.prepare('SELECT close()').get()).toThrow('This database connection is busy executing a query')
    expect(await asked).toEqual({ one: 1 })
  })
})

test('a file of a database that was closed under its statements is opened by the next one at once', async () => {
  const database = opened({ key: KEY, exclusive: true })
  const { name } = database
  const rejected = Array.from({ length: 6 }, () => database.async.get(ENDLESS))
  const all = Promise.allSettled(rejected)
  await turns(5)
  database.close()
  const next = new Database(path.resolve(name), { key: KEY })
  expect(next.prepare('SELECT count(*) AS c FROM t').get()).toEqual({ c: 0 })
  next.close()
  await all
})
