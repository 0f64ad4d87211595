/** An exclusive file belongs to its process, and to its exclusive connections there: SQLite would give its lock back for any other. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, linkSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Database, SqliteError } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const key = (): Buffer => Buffer.alloc(32, 0x5a)
const CJS = path.resolve('dist/cjs/better-sqlite3.cjs')

async function codeOf(work: () => unknown): Promise<unknown> {
  try {
    await work()
  } catch (error) {
    return error instanceof SqliteError ? error.code : error
  }
  return 'nothing was thrown'
}

function made(mode: string): string {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const database = new Database(file, { key: key() })
  database.pragma(`journal_mode = ${mode}`)
  database.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1)')
  database.close()
  return file
}

/** What a program that opens the file says. */
const programOf = (file: string): string => `
  const Database = require(${JSON.stringify(CJS)})
  let said = 'wrote'
  try {
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), timeout: 0 })
    database.prepare('INSERT INTO t VALUES (2)').run()
  } catch (error) { said = error.code }`

/** Another process, that of all tests of this file: it opens the file it is told, tries to write, and closes it. */
const INTRUDER = `
  const Database = require(${JSON.stringify(CJS)})
  process.on('message', (file) => {
    let database
    let said = 'wrote'
    try {
      database = new Database(file, { key: Buffer.alloc(32, 0x5a), timeout: 0 })
      database.prepare('INSERT INTO t VALUES (2)').run()
    } catch (error) { said = error.code }
    database?.close()
    process.send(said)
  })`
let other: ChildProcess

beforeAll(() => {
  other = spawn(process.execPath, ['-e', INTRUDER], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
})

afterAll(() => other.kill())

async function intruder(file: string): Promise<unknown> {
  const said = once(other, 'message')
  other.send(file)
  return (await said)[0] as unknown
}

const count = (database: Database): unknown => database.prepare('SELECT count(*) FROM t').pluck().get()

/** Opens the file exclusively, and takes its lock. */
function exclusively(file: string): Database {
  const database = new Database(file, { key: key(), exclusive: true })
  expect(count(database)).toBe(1)
  return database
}

/** Does `work` on another database. */
async function elsewhere(work: (other: Database) => unknown): Promise<void> {
  const other = new Database(':memory:', { key: key() })
  try {
    other.exec('CREATE TABLE t (x)')
    await work(other)
  } finally {
    other.close()
  }
}

const uriOf = (file: string, parameter: string): string => `file:${file}?${parameter}`

const TRIGGERS: [string, (file: string) => unknown][] = [
  ['opening it', (file) => new Database(file, { key: key() })],
  ['opening it to read', (file) => new Database(file, { key: key(), readonly: true })],
  ['opening it without its key', (file) => new Database(file)],
  ['opening it without locks', (file) => new Database(uriOf(file, 'nolock=1'), { key: key() })],
  ['opening it with a VFS of the system', (file) => new Database(uriOf(file, 'vfs=unix-none'), { key: key() })],
  ['a backup into it', (file) => elsewhere((other) => other.backup(file))],
  ['attaching it', (file) => elsewhere((other) => other.prepare('ATTACH ? AS it').run(file))],
  [
    'attaching it with a VFS of the system',
    (file) => elsewhere((other) => other.prepare('ATTACH ? AS it').run(uriOf(file, 'vfs=unix'))),
  ],
  ['VACUUM INTO it', (file) => elsewhere((other) => other.prepare('VACUUM INTO ?').run(file))],
  [
    'opening it by a symbolic link',
    (file) => {
      symlinkSync(file, `${file}-symbolic`)
      return new Database(`${file}-symbolic`, { key: key() })
    },
  ],
  [
    'opening it by a hard link',
    (file) => {
      linkSync(file, `${file}-hard`)
      return new Database(`${file}-hard`, { key: key() })
    },
  ],
]

describe.each(['delete', 'wal'])('of an exclusive file in journal mode %s', (mode) => {
  test.each(TRIGGERS)('%s is refused in its process, and other processes stay out', async (_, trigger) => {
    const file = made(mode)
    const database = exclusively(file)
    expect(await intruder(file)).toBe('SQLITE_BUSY')
    expect(await codeOf(() => trigger(file))).toBe('SQLITE_BUSY')
    expect(await intruder(file)).toBe('SQLITE_BUSY')
    database.exec('INSERT INTO t VALUES (3)')
    expect(count(database)).toBe(2)
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    database.close()
    expect(await intruder(file)).toBe('wrote')
  })

  test('opening it in another thread is refused', async () => {
    const file = made(mode)
    const database = exclusively(file)
    const program = `${programOf(file)}; require('node:worker_threads').parentPort.postMessage(said)`
    expect(await once(new Worker(program, { eval: true }), 'message')).toEqual(['SQLITE_BUSY'])
    expect(await intruder(file)).toBe('SQLITE_BUSY')
    database.close()
  })

  test('another exclusive connection is admitted, and the last of them lets the file go', async () => {
    const file = made(mode)
    const [first, second] = [exclusively(file), exclusively(file)]
    first.exec('INSERT INTO t VALUES (3)')
    expect(count(second)).toBe(2)
    first.close()
    expect(await intruder(file)).toBe('SQLITE_BUSY')
    second.exec('INSERT INTO t VALUES (4)')
    second.close()
    expect(await intruder(file)).toBe('wrote')
  })
})

test('a file that is open is not opened exclusively until the last other connection is closed', async () => {
  const file = made('wal')
  const shared = [1, 2].map(() => new Database(file, { key: key() }))
  for (const database of shared) {
    expect(await codeOf(() => new Database(file, { key: key(), exclusive: true }))).toBe('SQLITE_BUSY')
    expect(count(database)).toBe(1)
    database.close()
  }
  exclusively(file).close()
})

test('a file that is attached is not opened exclusively until it is detached', async () => {
  const file = made('delete')
  await elsewhere(async (other) => {
    other.prepare('ATTACH ? AS it').run(file)
    expect(await codeOf(() => new Database(file, { key: key(), exclusive: true }))).toBe('SQLITE_BUSY')
    other.exec('DETACH it')
    exclusively(file).close()
  })
})

test('the message says which file, what is in the way, and what to do', () => {
  const file = made('delete')
  const database = exclusively(file)
  const says = (there: string, here: string): string =>
    `${file} is open in this process ${there} "exclusive", and cannot be opened ${here} it as well: close it there first`
  expect(() => new Database(file, { key: key() })).toThrow(says('with', 'without'))
  database.close()
  const shared = new Database(file, { key: key() })
  expect(() => new Database(file, { key: key(), exclusive: true })).toThrow(says('without', 'with'))
  shared.close()
})

test('a file that is only read cannot be kept: no lock of SQLite excludes anybody', () => {
  const file = made('delete')
  expect(() => new Database(file, { key: key(), readonly: true, exclusive: true })).toThrow(TypeError)
})

test('nor can a file that turns out not to be writable', async () => {
  const uri = uriOf(made('delete'), 'mode=ro')
  expect(await codeOf(() => new Database(uri, { key: key(), exclusive: true }))).toBe('SQLITE_READONLY')
})

test.each(['vfs=unix', 'vfs=unix-none', 'vfs=unix-excl', 'nolock=1'])(
  'nor can a file whose URI says %s',
  async (parameter) => {
    const uri = uriOf(made('delete'), parameter)
    expect(await codeOf(() => new Database(uri, { key: key(), exclusive: true }))).toBe('SQLITE_MISUSE')
  },
)

test('the log of an exclusive file is made by the first write, and what one connection writes there the others read and fold', () => {
  const file = made('WAL')
  const log = `${file}-wal`
  const [first, second] = [exclusively(file), exclusively(file)]
  expect(existsSync(log)).toBe(false)
  second.exec('INSERT INTO t VALUES (2)')
  expect(existsSync(log)).toBe(true)
  expect(count(first)).toBe(2)
  first.exec('INSERT INTO t VALUES (3)')
  expect(count(second)).toBe(3)
  second.close()
  expect(existsSync(log)).toBe(true)
  first.close()
  expect(existsSync(log)).toBe(false)
  const database = new Database(file, { key: key() })
  expect(count(database)).toBe(3)
  database.close()
})

test('a connection that only read an exclusive file folds what another one wrote', () => {
  const file = made('WAL')
  const [reader, writer] = [exclusively(file), exclusively(file)]
  writer.exec('INSERT INTO t VALUES (2)')
  expect(reader.pragma('wal_checkpoint(TRUNCATE)')).toEqual([{ busy: 0, log: 0, checkpointed: 0 }])
  expect(statSync(`${file}-wal`).size).toBe(0)
  expect([count(reader), count(writer)]).toEqual([2, 2])
  writer.close()
  reader.close()
})

test('what was written before a process ends abruptly is in the log', () => {
  const file = made('WAL')
  const program = `const Database = require(${JSON.stringify(CJS)})
    const database = new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), exclusive: true })
    database.prepare('SELECT count(*) FROM t').get()
    database.prepare('INSERT INTO t VALUES (2)').run()
    process.kill(process.pid, 'SIGKILL')`
  expect(() => execFileSync(process.execPath, ['-e', program], { stdio: 'pipe' })).toThrow()
  expect(existsSync(`${file}-wal`)).toBe(true)
  const database = new Database(file, { key: key(), exclusive: true })
  expect(count(database)).toBe(2)
  database.close()
})

test.each(['the first write', 'a checkpoint'])(
  'after its file was moved, %s leaves the log of another file of that name alone',
  async (what) => {
    const file = made('WAL')
    const database = exclusively(file)
    renameSync(file, `${file}-moved`)
    copyFileSync(`${file}-moved`, file)
    // What it commits is in its log alone.
    const program = `${programOf(file)}; process.kill(process.pid, 'SIGKILL')`
    expect(() => execFileSync(process.execPath, ['-e', program], { stdio: 'pipe' })).toThrow()
    const log = readFileSync(`${file}-wal`)
    const attempt = (): unknown =>
      what === 'a checkpoint' ? database.pragma('wal_checkpoint(TRUNCATE)') : database.exec('INSERT INTO t VALUES (3)')
    expect(await codeOf(attempt)).toBe('SQLITE_READONLY_DBMOVED')
    database.close()
    expect(readFileSync(`${file}-wal`)).toEqual(log)
    const other = new Database(file, { key: key() })
    expect(other.prepare('SELECT x FROM t').pluck().all()).toEqual([1, 2])
    other.close()
  },
)

test('a log that was removed under two connections is not continued by the one that has not opened it', async () => {
  const file = made('WAL')
  const before = new Database(file, { key: key() })
  before.exec('CREATE TABLE u (x)')
  before.close()
  const [writer, late] = [exclusively(file), exclusively(file)]
  writer.exec('INSERT INTO t VALUES (2)')
  rmSync(`${file}-wal`)
  // It reads none of the pages that the log had.
  expect(await codeOf(() => late.exec('INSERT INTO u VALUES (3)'))).toBe('SQLITE_IOERR_WRITE')
  expect(existsSync(`${file}-wal`)).toBe(false)
  writer.exec('INSERT INTO t VALUES (4)')
  late.close()
  writer.close()
  const database = new Database(file, { key: key() })
  expect([count(database), database.pragma('integrity_check', { simple: true })]).toEqual([3, 'ok'])
  database.close()
})
