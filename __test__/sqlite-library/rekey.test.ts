/** `rekey` of a database under the caller's key: whatever happens, the file is under one of the two keys, and what is said is true. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Database, SqliteError } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const before = (): Buffer => Buffer.alloc(32, 0x5a)
const after = (): Buffer => Buffer.alloc(32, 0xa5)
const CJS = path.resolve('dist/cjs/better-sqlite3.cjs')
const ROWS = 300
const TEXT = 'x'.repeat(4000)

function filled(journalMode = 'delete'): string {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const database = new Database(file, { key: before() })
  database.pragma(`journal_mode = ${journalMode}`)
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  const insert = database.prepare('INSERT INTO t (text) VALUES (?)')
  database.transaction(() => {
    for (let row = 0; row < ROWS; row += 1) insert.run(TEXT)
  })()
  database.close()
  return file
}

function opens(file: string, key: Buffer): boolean {
  let database: Database
  try {
    database = new Database(file, { key, fileMustExist: true })
  } catch (error) {
    expect(error).toHaveProperty('code', 'SQLITE_NOTADB')
    return false
  }
  expect(database.prepare('SELECT count(*) FROM t WHERE text = ?').pluck().get(TEXT)).toBe(ROWS)
  expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
  database.close()
  return true
}

function failureOf(work: () => unknown): SqliteError {
  try {
    work()
  } catch (error) {
    if (error instanceof SqliteError) return error
    throw error
  }
  return expect.fail('it did not throw')
}

/** When a file has so many bytes, or whoever writes it has ended. */
async function untilGrown(file: string, bytes: number, writer: ChildProcess): Promise<void> {
  while (writer.exitCode === null && writer.signalCode === null) {
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? -1) >= bytes) return
    await setImmediate()
  }
}

test.each(['delete', 'wal', 'truncate'])(
  'a file keeps its content, and a log if it had one (journal mode %s)',
  (mode) => {
    const file = filled(mode)
    const database = new Database(file, { key: before() })
    database.exec("INSERT INTO t (text) VALUES ('to go'); DELETE FROM t WHERE text = 'to go'")
    database.rekey(after())
    expect(database.pragma('journal_mode', { simple: true })).toBe(mode === 'wal' ? 'wal' : 'delete')
    expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(ROWS)
    database.close()
    expect([opens(file, before()), opens(file, after())]).toEqual([false, true])
  },
)

test('a file that nothing was written to takes the new key', () => {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const database = new Database(file, { key: before() })
  database.rekey(after())
  database.exec('CREATE TABLE t (id)')
  database.close()
  expect(failureOf(() => new Database(file, { key: before() })).code).toBe('SQLITE_NOTADB')
  new Database(file, { key: after() }).close()
})

// Of one byte, SQLite says that it is empty.
test.each([2, 4095])('a file cut to %i bytes has no new key, and it says which it has', (bytes) => {
  const file = filled()
  const whole = readFileSync(file)
  const database = new Database(file, { key: before() })
  truncateSync(file, bytes)
  const failure = failureOf(() => database.rekey(after()))
  expect(failure.code).toBe('SQLITE_CORRUPT')
  expect(failure.message).toMatch(/the first page of this file cannot be read.*the file is under the key that it had/)
  expect(database.open).toBe(false)
  expect(readFileSync(file)).toEqual(whole.subarray(0, bytes))
  writeFileSync(file, whole)
  expect([opens(file, before()), opens(file, after())]).toEqual([true, false])
})

test('while another connection of this process has the file open it is refused, though that is idle', () => {
  const file = filled()
  const idle = new Database(file, { key: before() })
  const count = (): unknown => idle.prepare('SELECT count(*) FROM t').pluck().get()
  expect(count()).toBe(ROWS)
  const database = new Database(file, { key: before() })
  expect(failureOf(() => database.rekey(after())).code).toBe('SQLITE_BUSY')
  expect(count()).toBe(ROWS)
  idle.close()
  expect([opens(file, before()), opens(file, after())]).toEqual([true, false])
})

test('an idle connection of another process in rollback mode is not found, and reads nothing under the key of before', async () => {
  const file = filled()
  const script = `
    const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a) })
    const count = database.prepare('SELECT count(*) FROM t').pluck()
    console.log(count.get())
    process.stdin.once('data', () => {
      try { console.log(count.get()) } catch (error) { console.log(error.code) }
      process.exit()
    })`
  const other = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [first] = (await once(other.stdout, 'data')) as [Buffer]
  expect(Number(String(first))).toBe(ROWS)
  new Database(file, { key: before() }).rekey(after()).close()
  other.stdin.write('again')
  const [second] = (await once(other.stdout, 'data')) as [Buffer]
  expect(String(second).trim()).toBe('SQLITE_CORRUPT')
  expect([opens(file, before()), opens(file, after())]).toEqual([false, true])
})

test('while another process has the file open it is refused, and the file is as it was', async () => {
  const file = filled('wal')
  const script = `
    const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a) })
    database.prepare('SELECT count(*) FROM t').get()
    console.log('open')
    process.stdin.on('data', () => { database.close(); process.exit() })`
  const other = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(other.stdout, 'data')
  const database = new Database(file, { key: before() })
  const failure = failureOf(() => database.rekey(after()))
  expect(failure.code).toBe('SQLITE_BUSY')
  expect(failure.message).toMatch(/the file is under the key that it had/)
  expect(database.open).toBe(false)
  other.stdin.write('end')
  await once(other, 'close')
  expect([opens(file, before()), opens(file, after())]).toEqual([true, false])
})

test('a disk that has no room for it leaves the file under the key that it had, and it says so', () => {
  const file = filled()
  const blocks = Math.ceil(statSync(file).size / 1024) - 100
  const script = `
    const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a) })
    try { database.rekey(Buffer.alloc(32, 0xa5)); console.log('rekeyed') }
    catch (error) { console.log(error.name, error.code, error.message, database.open) }`
  const { stdout, stderr } = spawnSync(
    'bash',
    ['-c', `ulimit -f ${blocks}; exec "$0" -e "$1"`, process.execPath, script],
    {
      encoding: 'utf8',
    },
  )
  expect(stderr).toBe('')
  expect(stdout).toMatch(/^SqliteError SQLITE_(FULL|IOERR\w*) .*the file is under the key that it had false$/m)
  expect([opens(file, before()), opens(file, after())]).toEqual([true, false])
})

test('a page that was altered before is found, and the file is not rewritten', () => {
  const file = filled()
  const at = statSync(file).size - 3000
  const byte = readFileSync(file)[at] ?? 0
  const write = (value: number): void => {
    const descriptor = openSync(file, 'r+')
    writeSync(descriptor, Uint8Array.of(value), 0, 1, at)
    closeSync(descriptor)
  }
  write(byte ^ 1)
  const database = new Database(file, { key: before() })
  const failure = failureOf(() => database.rekey(after()))
  expect(failure.code).toBe('SQLITE_CORRUPT')
  expect(failure.message).toMatch(/the file is under the key that it had/)
  write(byte)
  expect([opens(file, before()), opens(file, after())]).toEqual([true, false])
})

test('a process killed meanwhile leaves the file whole, under one of the keys', async () => {
  const seen = new Set<string>()
  for (let turn = 0; turn < 12; turn += 1) {
    const file = filled(turn % 2 === 0 ? 'wal' : 'delete')
    const script = `
      const Database = require(${JSON.stringify(CJS)})
      const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a) })
      require('node:fs').writeSync(1, 'begun')
      database.rekey(Buffer.alloc(32, 0xa5))
      process.kill(process.pid, 'SIGKILL')`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    const untilItEnds = once(child, 'close')
    // When the journal has grown to a share of the file; in the last turns it ends by itself.
    if (turn < 10) await untilGrown(`${file}-journal`, (statSync(file).size * turn) / 10, child)
    if (turn < 10) child.kill('SIGKILL')
    await untilItEnds
    const [isOld, isNew] = [opens(file, before()), opens(file, after())]
    expect(isOld).not.toBe(isNew)
    seen.add(isOld ? 'old' : 'new')
    if (turn >= 10) expect(isNew).toBe(true)
  }
  expect(seen).toEqual(new Set(['old', 'new']))
}, 60_000)

test('needs a key, 32 bytes, and no transaction', () => {
  const file = filled()
  expect(() => new Database(':memory:').rekey(after())).toThrow(TypeError)
  const database = new Database(file, { key: before() })
  expect(() => database.rekey(Buffer.alloc(31))).toThrow(/32 bytes/)
  database.exec('BEGIN')
  expect(() => database.rekey(after())).toThrow(/transaction/)
  database.exec('COMMIT')
  database.close()
})
