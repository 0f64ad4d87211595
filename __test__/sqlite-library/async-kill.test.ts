/** A process that ends while native threads write for it: what it was told is written stays, and the file is whole. */
import path from 'node:path'
import { expect, test } from 'vitest'
import { Database } from '../../src/index.js'
import { runChild } from '../support/child.js'
import { temporaryDirectory } from '../support/directory.js'
import { kinds } from './kinds.js'

const WRITES = new URL('./child/async-writes.ts', import.meta.url)
const ROUNDS = process.env['NIMBUS_LONG'] === undefined ? 1 : 50
const MOST_LINES = 300

/** What a life of a process that writes told: it ends at the last line, with more writes under way. */
async function life(file: string, kind: string, end: string, lines: number): Promise<number[]> {
  const { stdout, stderr, status, signal } = await runChild(WRITES, [file, kind, end, String(lines)])
  expect({ stderr, status, signal }).toEqual({
    stderr: '',
    ...(end === 'SIGKILL' ? { status: null, signal: 'SIGKILL' } : { status: 0, signal: null }),
  })
  const told = stdout.trim().split('\n').map(Number)
  expect(told).toHaveLength(lines)
  return told
}

test.each(Object.keys(kinds).flatMap((kind) => ['SIGKILL', 'process.exit'].map((end) => ({ kind, end }))))(
  '$end in the middle of asynchronous writes of a file that is $kind loses none that was fulfilled',
  async ({ kind, end }) => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    new Database(file, kinds[kind])
      .exec('PRAGMA journal_mode = WAL; CREATE TABLE t (number, part, text, PRIMARY KEY (number, part))')
      .close()
    for (let round = 0; round < ROUNDS; round += 1) {
      const told = await life(file, kind, end, 1 + Math.floor(Math.random() * MOST_LINES))
      const database = new Database(file, kinds[kind])
      const found = database.prepare('SELECT number, count(*) AS parts, min(text) AS text FROM t GROUP BY number').all()
      const last = found.length
      // Writes are done in the order in which they were asked for, and all of one or nothing.
      const wanted = Array.from({ length: last }, (_, index) => index + 1)
      expect(found).toEqual(wanted.map((number) => ({ number, parts: 3, text: `${number} `.repeat(number % 500) })))
      expect(Math.max(...told), 'the last that was fulfilled').toBeLessThanOrEqual(last)
      expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
      database.exec('DELETE FROM t')
      database.close()
    }
  },
)
