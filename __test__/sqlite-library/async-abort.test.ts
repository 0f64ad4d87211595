/** A signal that is aborted before asynchronous statements begin, while they wait, while they run, and when they are done. */
import { expect, onTestFinished, test } from 'vitest'
import type { AsyncStatements } from '../../src/sqlite/async.js'
import { count, ENDLESS, occupyReaders, opened, READERS, turns } from './asking.js'

const REASON = new Error('enough')
const LONG_WRITE = `INSERT INTO t (b) ${ENDLESS}`
const ROWS = 5000

interface Case {
  readonly ask: (statements: AsyncStatements) => Promise<unknown>
  /** What is under way on the threads before it is asked for. */
  readonly before?: 'reads' | 'a write'
}

const drain = async (rows: AsyncIterable<unknown>): Promise<number> => {
  let seen = 0
  for await (const row of rows) seen += row === undefined ? 0 : 1
  return seen
}

const cases: Record<string, Case> = {
  'a read that runs': { ask: (statements) => statements.get(ENDLESS) },
  'a read of many rows': { ask: (statements) => statements.all(count(1e9)) },
  'a read that waits for a thread': { ask: (statements) => statements.get('SELECT 1'), before: 'reads' },
  'an iteration that waits for its first row': { ask: (statements) => drain(statements.iterate(ENDLESS)) },
  'an iteration that waits for a thread': {
    ask: (statements) => drain(statements.iterate('SELECT 1')),
    before: 'reads',
  },
  'an iteration that goes on': { ask: (statements) => drain(statements.iterate(count(1e9))) },
  'a write that runs': { ask: (statements) => statements.run(LONG_WRITE) },
  'a write that runs and returns rows': { ask: (statements) => statements.all(`${LONG_WRITE} RETURNING id`) },
  'a write that waits for another': {
    ask: (statements) => statements.run('INSERT INTO t (b) VALUES (1)'),
    before: 'a write',
  },
}

test.each(Object.entries(cases))(
  'aborting ends %s with the reason, and the next ones are done',
  async (_, { ask, before }) => {
    const database = opened()
    const controller = new AbortController()
    const other = new AbortController()
    const release = before === 'reads' ? occupyReaders() : undefined
    const write = before === 'a write' ? database.async.with({ signal: other.signal }).run(LONG_WRITE) : undefined
    const asked = ask(database.async.with({ signal: controller.signal }))
    const outcome = asked.catch((error: unknown) => error)
    await turns(20)
    controller.abort(REASON)
    // While what was before it goes on.
    expect(await outcome).toBe(REASON)
    await release?.()
    other.abort(REASON)
    if (write !== undefined) await expect(write).rejects.toBe(REASON)
    const next = Array.from({ length: READERS + 1 }, () => database.async.get('SELECT count(*) AS c FROM t'))
    expect(await Promise.all(next)).toEqual(Array.from({ length: READERS + 1 }, () => ({ c: 0 })))
    expect(await database.async.run('INSERT INTO t (b) VALUES (2)')).toEqual({ changes: 1, lastInsertRowid: 1 })
  },
)

test('an iteration whose signal is aborted in the middle gives no further row', async () => {
  const database = opened()
  database.exec(`INSERT INTO t (b) SELECT i FROM (${count(ROWS)})`)
  for (const last of [1, 1000, 1001, ROWS - 1]) {
    const controller = new AbortController()
    const seen: unknown[] = []
    const reading = async (): Promise<void> => {
      for await (const { id } of database.async
        .with({ signal: controller.signal })
        .iterate<{ id: number }>('SELECT id FROM t')) {
        seen.push(id)
        if (id === last) controller.abort(REASON)
      }
    }
    await expect(reading()).rejects.toBe(REASON)
    expect(seen).toHaveLength(last)
  }
  await database.async.run('DELETE FROM t')
  expect(database.pragma('wal_checkpoint(TRUNCATE)')).toEqual([{ busy: 0, log: 0, checkpointed: 0 }])
})

test('with a signal that is aborted already nothing begins', async () => {
  const database = opened()
  const statements = database.async.with({ signal: AbortSignal.abort(REASON) })
  await expect(statements.run('INSERT INTO t (b) VALUES (1)')).rejects.toBe(REASON)
  await expect(statements.get('INSERT INTO t (b) VALUES (1) RETURNING id')).rejects.toBe(REASON)
  await expect(statements.all('SELECT 1')).rejects.toBe(REASON)
  const rows = statements.iterate('SELECT 1')
  await expect(rows.next()).rejects.toBe(REASON)
  expect(await database.async.get('SELECT count(*) AS c FROM t')).toEqual({ c: 0 })
})

test('an abort of what is done changes nothing, and leaves nothing behind on the signal', async () => {
  const database = opened()
  const controller = new AbortController()
  const listeners = new Set<unknown>()
  const { signal } = controller
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
  signal.addEventListener = (...values: Parameters<typeof add>) => {
    listeners.add(values[1])
    add(...values)
  }
  signal.removeEventListener = (...values: Parameters<typeof remove>) => {
    listeners.delete(values[1])
    remove(...values)
  }
  const statements = database.async.with({ signal })
  await statements.run('INSERT INTO t (b) VALUES (1)')
  expect(await drain(statements.iterate(count(ROWS)))).toBe(ROWS)
  const done = statements.get('SELECT count(*) AS c FROM t')
  expect(listeners.size).toBe(1)
  expect(await done).toEqual({ c: 1 })
  expect(listeners.size).toBe(0)
  controller.abort(REASON)
  expect(database.prepare('SELECT b FROM t').all()).toEqual([{ b: 1 }])
})

test('one signal stops a hundred statements, and Node sees no leak in it', async () => {
  const database = opened()
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  onTestFinished(() => void process.off('warning', onWarning))
  const controller = new AbortController()
  const { signal } = controller
  const long = database.async.with({ signal }).run(LONG_WRITE)
  const asked = Array.from({ length: 50 }, () => [
    database.async.with({ signal }).run('INSERT INTO t (b) VALUES (1)'),
    database.async.with({ signal }).get(ENDLESS),
  ]).flat()
  await turns(2)
  controller.abort(REASON)
  const outcomes = await Promise.allSettled([long, ...asked])
  expect(outcomes).toEqual(outcomes.map(() => ({ status: 'rejected', reason: REASON })))
  expect(await database.async.get('SELECT count(*) AS c FROM t')).toEqual({ c: 0 })
  expect(warnings).toEqual([])
})
