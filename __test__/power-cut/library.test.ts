/** A program that writes to an exclusive database, whose log is made by its first write, on a disk that loses its power at any moment. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { expect, it } from 'vitest'
import { Database } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import type { Recorded } from './disk.js'
import { type State, recordingOf } from './recording.js'

const CJS = path.resolve('dist/cjs/better-sqlite3.cjs')
const COMMITS = 3
const key = (): Buffer => Buffer.alloc(32, 0x5a)

/** Reads, then commits row by row, and notes in the record what was acknowledged. */
const programOf = (file: string, end: string): string => `
  const { appendFileSync } = require('node:fs')
  const Database = require(${JSON.stringify(CJS)})
  const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), exclusive: true })
  database.pragma('synchronous = FULL')
  database.prepare('SELECT count(*) FROM t').get()
  for (let row = 1; row <= ${COMMITS}; row++) {
    database.prepare('INSERT INTO t VALUES (?)').run(row)
    appendFileSync(process.env.NIMBUS_RECORD_LOG, 'say 0 0 0 ' + row + '\\t\\n')
  }
  ${end}`

it.each([
  ['is killed', "process.kill(process.pid, 'SIGKILL')"],
  ['closes', 'database.close()'],
])(
  'what an exclusive database acknowledged before its program %s is there after a power cut, and nothing is there in part',
  (_, end) => {
    const directory = temporaryDirectory()
    const file = path.join(directory, 'a.sqlite3')
    const made = new Database(file, { key: key() })
    made.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (x)')
    made.close()
    const recording = recordingOf(directory)
    const run = (): string =>
      execFileSync(process.execPath, ['-e', programOf(file, end)], {
        env: { ...process.env, ...recording.env },
        encoding: 'utf8',
      })
    if (end.includes('SIGKILL')) expect(run).toThrow()
    else run()

    const losses = (states: readonly State[]): string[] =>
      states.flatMap((state) => {
        const rows = rowsOf(path.join(state.materialise(), 'a.sqlite3'))
        const least = state.said.length
        const isKept = [least, Math.min(least + 1, COMMITS)].some((count) => rows === rowsUpTo(count))
        return isKept ? [] : [`${state.after}: ${rows} after ${least} commits`]
      })
    const states = recording.states()
    expect(states.at(-1)?.said).toHaveLength(COMMITS)
    expect(losses(states)).toEqual([])
    // It is the syncs that see to it, of the log and of its name.
    const isSync = ({ operation }: Recorded): boolean => operation === 'sync'
    const isOfName = (done: Recorded): boolean => isSync(done) && done.path === directory
    expect(losses(recording.states((done) => !isSync(done)))).not.toEqual([])
    expect(losses(recording.states((done) => !isOfName(done)))).not.toEqual([])
  },
  120_000,
)

const rowsUpTo = (count: number): string => JSON.stringify(Array.from({ length: count }, (_, at) => at + 1))

/** What whoever opens it next finds, or the error that it meets. */
function rowsOf(file: string): string {
  try {
    const database = new Database(file, { key: key(), exclusive: true })
    try {
      expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
      return JSON.stringify(database.prepare('SELECT x FROM t ORDER BY x').pluck().all())
    } finally {
      database.close()
    }
  } catch (error) {
    return String(error)
  }
}
