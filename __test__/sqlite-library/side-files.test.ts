/** What lies beside an encrypted database is authenticated before SQLite writes it into the file. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Database, SqliteError } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const key = (byte = 0x5a): Buffer => Buffer.alloc(32, byte)
const CJS = path.resolve('dist/cjs/better-sqlite3.cjs')

const codeOf = (work: () => unknown): unknown => {
  try {
    work()
  } catch (error) {
    return error instanceof SqliteError ? error.code : error
  }
  return 'nothing was thrown'
}

/** Runs `script` in a process that has `database` open, and dies. */
function killed(file: string, script: string, byte = 0x5a): void {
  const program = `
    const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, ${byte}) })
    ${script}
    process.kill(process.pid, 'SIGKILL')`
  expect(() => execFileSync(process.execPath, ['-e', program], { stdio: 'ignore' })).toThrow(
    expect.objectContaining({ signal: 'SIGKILL' }),
  )
}

const CREATE = `database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  const insert = database.prepare('INSERT INTO t (text) VALUES (?)')
  const fill = (rows) => { for (let row = 0; row < rows; row += 1) insert.run('x'.repeat(2000)) }`
/** So small a cache spills its pages into the file before the commit. */
const INTERRUPTED = `database.pragma('cache_size = 5')
  database.exec('BEGIN'); fill(200); database.exec("UPDATE t SET text = 'lost'")`

const count = (database: Database): unknown => database.prepare('SELECT count(*) FROM t').pluck().get()

function contentOf(file: string): unknown {
  const database = new Database(file, { key: key() })
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    return database.prepare('SELECT count(*), max(text) FROM t').raw().get()
  } finally {
    database.close()
  }
}

describe('what a killed process leaves is taken up', () => {
  const whole = [20, 'x'.repeat(2000)]

  test('a log', () => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    killed(file, `database.pragma('journal_mode = WAL'); ${CREATE}; fill(20); ${INTERRUPTED}`)
    expect(readFileSync(`${file}-wal`).length).toBeGreaterThan(4096)
    expect(contentOf(file)).toEqual(whole)
  })

  test('a journal of a later transaction', () => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    killed(file, `${CREATE}; fill(20); ${INTERRUPTED}`)
    expect(readFileSync(`${file}-journal`).length).toBeGreaterThan(4096)
    expect(contentOf(file)).toEqual(whole)
  })

  test('a journal of the first transaction, whose file is then empty', () => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    killed(file, `database.exec('BEGIN'); ${CREATE}; database.pragma('cache_size = 5'); fill(200)`)
    expect(existsSync(`${file}-journal`)).toBe(true)
    expect(readFileSync(file).length).toBeGreaterThan(4096)
    const database = new Database(file, { key: key() })
    expect(database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get()).toBe(0)
    database.close()
  })
})

describe.each([{ exclusive: false }, { exclusive: true }])('with %o', (options) => {
  const open = (file: string, byte = 0x5a): Database => new Database(file, { key: key(byte), ...options })

  test.each([
    ['-wal', `database.pragma('journal_mode = WAL'); ${CREATE}; fill(20)`],
    ['-journal', `${CREATE}; fill(20); ${INTERRUPTED}`],
  ])('a %s of another file is refused, and nothing is written', (suffix, script) => {
    const directory = temporaryDirectory()
    const [ours, theirs] = [path.join(directory, 'ours'), path.join(directory, 'theirs')]
    for (const file of [ours, theirs]) killed(file, script, file === ours ? 0x5a : 0x77)
    rmSync(`${ours}-shm`, { force: true })
    copyFileSync(theirs + suffix, ours + suffix)
    const before = [readFileSync(ours), readFileSync(ours + suffix)]
    expect(codeOf(() => open(ours))).toBe('SQLITE_CORRUPT')
    expect([readFileSync(ours), readFileSync(ours + suffix)]).toEqual(before)
  })

  test('a journal that would empty a file with more than its first transaction is refused', () => {
    const directory = temporaryDirectory()
    const [ours, young] = [path.join(directory, 'ours'), path.join(directory, 'young')]
    killed(young, `database.exec('BEGIN'); ${CREATE}; database.pragma('cache_size = 5'); fill(200)`)
    killed(ours, `${CREATE}; fill(20)`)
    copyFileSync(`${young}-journal`, `${ours}-journal`)
    const before = readFileSync(ours)
    expect(codeOf(() => open(ours))).toBe('SQLITE_CORRUPT')
    expect(readFileSync(ours).equals(before)).toBe(true)
  })

  test('under another key it is the key that is named, and what lies beside the file stays', () => {
    const file = path.join(temporaryDirectory(), 'a.sqlite3')
    killed(file, `database.pragma('journal_mode = WAL'); ${CREATE}; fill(20)`)
    const log = readFileSync(`${file}-wal`)
    expect(codeOf(() => open(file, 0x11))).toBe('SQLITE_NOTADB')
    expect(readFileSync(`${file}-wal`).equals(log)).toBe(true)
    const database = open(file)
    expect(count(database)).toBe(20)
    database.close()
  })
})

test('an empty file beside a log that was written is not taken for a new one', () => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  killed(file, `database.pragma('journal_mode = WAL'); ${CREATE}; fill(20)`)
  const log = readFileSync(`${file}-wal`)
  writeFileSync(file, '')
  expect(codeOf(() => new Database(file, { key: key() }))).toBe('SQLITE_CORRUPT')
  expect(readFileSync(`${file}-wal`).equals(log)).toBe(true)
})

test.each(['delete', 'wal', 'persist'])('connections come and go while others write (journal mode %s)', (mode) => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const first = new Database(file, { key: key() })
  first.pragma(`journal_mode = ${mode}`)
  first.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  const program = `
    const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), timeout: 60000 })
    database.pragma('journal_mode = ${mode}'); database.pragma('synchronous = OFF')
    const insert = database.prepare('INSERT INTO t (text) VALUES (?)')
    for (let turn = 0; turn < 400; turn += 1) {
      database.exec('BEGIN IMMEDIATE'); insert.run('x'.repeat(3000)); database.exec(turn % 3 ? 'COMMIT' : 'ROLLBACK')
    }`
  const script = `
    const { spawn } = require('node:child_process')
    const Database = require(${JSON.stringify(CJS)})
    let left = 2, opened = 0
    for (let n = 0; n < 2; n += 1) {
      const child = spawn(process.execPath, ['-e', ${JSON.stringify(program)}], { stdio: 'inherit' })
      child.on('exit', (code) => { if (code !== 0) process.exitCode = 1; left -= 1 })
    }
    const turn = () => {
      const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), timeout: 60000 })
      database.prepare('SELECT count(*) FROM t').get()
      database.close()
      opened += 1
      if (left > 0) setImmediate(turn); else console.log(opened)
    }
    turn()`
  const opened = Number(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }))
  expect(opened).toBeGreaterThan(20)
  expect(count(first)).toBe(2 * 266)
  first.close()
})
