/** A file that another program writes while ours reads it: what we keep of it between reads is never older than the file. */
import { once } from 'node:events'
import { closeSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { startChild } from '../support/child.js'
import { temporaryDirectory } from '../support/directory.js'

const KEY = Buffer.alloc(32, 0x5a)
const STEPS = process.env['NIMBUS_LONG'] === undefined ? 150 : 3000
const STATE = 'SELECT count(*) AS rows, total(length(x)) AS bytes, max(id) AS last FROM t'
const PAGES = 'PRAGMA page_count'

/** Another process with the file open. */
function program(file: string): {
  run: (...statements: string[]) => Promise<unknown>
  end: (how: 'close' | 'SIGKILL') => Promise<void>
} {
  const child = startChild(new URL('./child/signal.ts', import.meta.url), [file, KEY.toString('hex')])
  if (child.stdout === null || child.stdin === null) throw new Error('the child has pipes')
  const { stdin } = child
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async run(...statements) {
      stdin.write(`${JSON.stringify(statements)}\n`)
      const { value } = (await lines.next()) as { value: string }
      const { rows, error } = JSON.parse(value) as { rows?: unknown; error?: string }
      return rows ?? error
    },
    async end(how) {
      const exited = once(child, 'exit')
      if (how === 'close') stdin.end()
      else child.kill(how)
      await exited
    },
  }
}

/** The same numbers for the same seed (mulberry32). */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

test.each([1, 2, 3])(
  'what we read is what another program reads, whatever the two do to the file (seed %i)',
  async (seed) => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    const random = numbers(seed)
    const open = (): Database => new Database(file, { key: KEY })
    let ours = open()
    ours.exec(
      'PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB); INSERT INTO t (x) VALUES (zeroblob(9000))',
    )
    let other = program(file)
    const write = (): string[] => [
      `INSERT INTO t (x) SELECT zeroblob(${random(20_000)}) FROM json_each('[1,2,3,4,5,6]')`,
      `DELETE FROM t WHERE id % ${2 + random(3)} = 0`,
      'VACUUM',
      `PRAGMA wal_checkpoint(${['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'][random(4)] ?? ''})`,
    ]
    const steps: Record<string, () => unknown> = {
      'the other writes': () => other.run(write()[random(4)] ?? ''),
      'the other empties the log': () =>
        other.run('PRAGMA wal_checkpoint(TRUNCATE)', 'PRAGMA wal_checkpoint(TRUNCATE)'),
      'we write': () => ours.prepare(write()[random(3)] ?? '').run(),
      'we fold': () => ours.pragma('wal_checkpoint(TRUNCATE)'),
      'the other is killed': async () => {
        await other.end('SIGKILL')
        other = program(file)
      },
      'the other would leave the log': async () => {
        expect(await other.run('PRAGMA journal_mode = DELETE')).toMatch(/database is locked/)
      },
      'we close': () => {
        ours.close()
        ours = open()
      },
      'both close, and the log goes': async () => {
        ours.close()
        await other.end('close')
        ours = open()
        ours.prepare(STATE).get()
        other = program(file)
      },
      'the other leaves the log and comes back to it': async () => {
        ours.close()
        expect(await other.run('PRAGMA journal_mode = TRUNCATE')).toEqual([{ journal_mode: 'truncate' }])
        ours = open()
        ours.prepare(STATE).get()
        await other.run(write()[0] ?? '')
        expect(ours.prepare(STATE).all()).toEqual(await other.run(STATE))
        expect(ours.prepare(PAGES).all()).toEqual(await other.run(PAGES))
        expect(ours.pragma('journal_mode = WAL', { simple: true })).toBe('wal')
      },
    }
    const names = Object.keys(steps)
    for (let count = 0; count < STEPS; count += 1) {
      const name = names[random(random(2) === 0 ? 2 : names.length)] ?? ''
      await steps[name]?.()
      for (const sql of [STATE, PAGES, STATE])
        expect([name, ours.prepare(sql).all()]).toEqual([name, await other.run(sql)])
    }
    expect(ours.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(await other.run('PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }])
    ours.close()
    await other.end('close')
  },
)

test('an index of the log that has to be made anew looks as it did before the other wrote, and the file is read as it is', async () => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const made = new Database(file, { key: KEY })
  made.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)')
  made.close()
  const ours = new Database(file, { key: KEY })
  expect(ours.prepare(STATE).get()).toMatchObject({ rows: 0 })
  const other = program(file)
  await other.run("INSERT INTO t (x) SELECT zeroblob(9000) FROM json_each('[1,2,3,4,5,6,7,8]')")
  expect(await other.run('PRAGMA wal_checkpoint(TRUNCATE)')).toEqual([{ busy: 0, log: 0, checkpointed: 0 }])
  // Both copies of its header, as if whoever wrote them had been killed.
  const index = openSync(`${file}-shm`, 'r+')
  writeSync(index, Buffer.alloc(96), 0, 96, 0)
  closeSync(index)
  expect(ours.prepare(STATE).get()).toEqual({ rows: 8, bytes: 72_000, last: 8 })
  expect(ours.prepare(PAGES).all()).toEqual(await other.run(PAGES))
  ours.close()
  await other.end('close')
})

test('without locks, whoever takes turns with a writer reads what it wrote, also in pages that were read ahead', () => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const writer = new Database(file, { key: KEY })
  writer.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, version, filling)')
  writer.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO t SELECT i, 0, hex(zeroblob(450)) FROM n`)
  const reader = new Database(`file:${file}?nolock=1`, { key: KEY })
  const lastVersions = reader.prepare('SELECT DISTINCT version FROM t WHERE id > 395').pluck()
  for (let version = 0; version < 4; version += 1) {
    writer.prepare('UPDATE t SET version = ?').run(version)
    expect(lastVersions.all()).toEqual([version])
    // The end of the file is what was read ahead last.
    expect(reader.prepare('SELECT total(length(filling)) FROM t').pluck().get()).toBe(400 * 900)
  }
  reader.close()
  writer.close()
})
