/** The readers of asynchronous statements: how far they read, who gets them, and that they are given back. */
import { expect, test } from 'vitest'
import type { Database } from '../../src/index.js'
import { count, occupyReaders, opened, READERS, turns } from './asking.js'

/** Many batches. */
const ROWS = 10_000

function filled(): Database {
  const database = opened({ timeout: 0 })
  database.exec(`INSERT INTO t (b) SELECT i FROM (${count(ROWS)})`)
  return database
}

/** Whether somebody still reads the state of the file from before this. */
async function isRead(database: Database): Promise<boolean> {
  await database.async.run('UPDATE t SET b = b + 1 WHERE id = 1')
  const own = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
  return own[0]?.busy === 1
}

const start = async (database: Database): Promise<AsyncGenerator> => {
  const rows = database.async.iterate('SELECT id FROM t')
  expect(await rows.next()).toEqual({ done: false, value: { id: 1 } })
  return rows
}

const ends: Record<string, (rows: AsyncGenerator) => Promise<unknown>> = {
  break: async (rows) => {
    for await (const row of rows) if (row !== undefined) break
  },
  'an exception': async (rows) => {
    const failing = async (): Promise<void> => {
      for await (const row of rows) throw new Error(typeof row)
    }
    await expect(failing()).rejects.toThrow('object')
  },
  'return() in between': (rows) => rows.return(undefined),
  'throw() in between': (rows) => expect(rows.throw(new Error('mine'))).rejects.toThrow('mine'),
  'return() while a row is waited for': async (rows) => {
    await Promise.all([...Array.from({ length: 1500 }, () => rows.next()), rows.return(undefined)])
  },
}

test.each(Object.entries(ends))('an iteration that %s ends gives its reader back', async (_, end) => {
  const database = filled()
  const rows = await start(database)
  expect(await isRead(database)).toBe(true)
  await end(rows)
  // The thread that reads ahead may have to be stopped first.
  await database.async.all('SELECT 1')
  for (let tries = 0; tries < 100 && (await isRead(database)); tries += 1) await turns(10)
  expect(await isRead(database)).toBe(false)
  expect(await rows.next()).toEqual({ done: true, value: undefined })
})

test('an iteration that waits for a thread gives its state of the file back while others go on', async () => {
  const database = filled()
  const rows = await start(database)
  const release = occupyReaders()
  // Through the batches that are read, so that the next one has been asked for.
  for (let row = 2; row <= 1001; row += 1) await rows.next()
  expect(await isRead(database)).toBe(true)
  await rows.return(undefined)
  expect(await isRead(database)).toBe(false)
  await release()
})

test('a consumer that waits keeps its reader from going on, however long that is', async () => {
  const database = filled()
  const rows = await start(database)
  // A reader that went on would be through in the time of these, and the file free.
  for (let reads = 0; reads < 20; reads += 1) await database.async.all('SELECT id FROM t')
  expect(await isRead(database)).toBe(true)
  let last = 1
  for await (const row of rows) last = (row as { id: number }).id
  expect(last).toBe(ROWS)
  expect(await isRead(database)).toBe(false)
})

test('more iterations than there are threads all go on, beside reads and writes', async () => {
  const database = filled()
  const iterations = await Promise.all(Array.from({ length: 5 * READERS }, () => start(database)))
  expect(await database.async.run('INSERT INTO t (b) VALUES (0)')).toMatchObject({ changes: 1 })
  expect(await database.async.get('SELECT count(*) AS c FROM t')).toEqual({ c: ROWS + 1 })
  const through = iterations.map(async (rows) => {
    let seen = 1
    for await (const row of rows) {
      seen += 1
      if ((row as { id: number }).id !== seen) throw new Error(`row ${seen} is another`)
      // Inside of the loop, where everything that iterates waits for it.
      if (seen % 5000 === 0) await database.async.run('UPDATE t SET b = 1 WHERE id = ?', seen)
    }
    return seen
  })
  expect(new Set(await Promise.all(through))).toEqual(new Set([ROWS]))
})

test('writes do not wait for readers that never end', async () => {
  const database = filled()
  const release = occupyReaders()
  expect(await database.async.run('DELETE FROM t WHERE id > 10')).toMatchObject({ changes: ROWS - 10 })
  expect(await database.async.all('INSERT INTO t (b) VALUES (1) RETURNING b')).toEqual([{ b: 1 }])
  await release()
  expect(await database.async.get('SELECT count(*) AS c FROM t')).toEqual({ c: 11 })
})
