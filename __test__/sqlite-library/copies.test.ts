/** Backups and bytes of a database that is in use, and what they do when they cannot be made. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Database, type DatabaseOptions } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const key = () => new Uint8Array(32).fill(7)

const forms: { name: string; options: () => DatabaseOptions }[] = [
  { name: 'a plain', options: () => ({}) },
  { name: 'an encrypted', options: () => ({ key: key() }) },
]

function open(file: string, options: DatabaseOptions): Database {
  const database = new Database(file, options)
  onTestFinished(() => void database.close())
  return database
}

function filled(options: DatabaseOptions, rows = 2000): { database: Database; directory: string } {
  const directory = temporaryDirectory()
  const database = open(path.join(directory, 'source.sqlite3'), options)
  database.exec('CREATE TABLE t (a, b)')
  const insert = database.prepare('INSERT INTO t VALUES (?, randomblob(500))')
  database.transaction(() => {
    for (let n = 0; n < rows; n++) insert.run(n)
  })()
  return { database, directory }
}

const rowsOf = (database: Database): unknown => database.prepare('SELECT count(*) FROM t').pluck().get()

describe.each(forms)('a backup of $name database', ({ options }) => {
  test('waits for a transaction that writes, of the same connection', async () => {
    const { database, directory } = filled(options())
    const target = path.join(directory, 'copy.sqlite3')
    database.exec('BEGIN; DELETE FROM t WHERE a < 500')
    const backup = database.backup(target)
    await pause(100)
    database.exec('COMMIT')
    expect((await backup).remainingPages).toBe(0)
    expect(rowsOf(open(target, options()))).toBe(1500)
  })

  test('that nothing can be copied for is an error, and leaves no file', async () => {
    const { database, directory } = filled(options())
    const target = path.join(directory, 'copy.sqlite3')
    database.exec('BEGIN; DELETE FROM t')
    await expect(database.backup(target)).rejects.toMatchObject({ code: 'SQLITE_BUSY' })
    expect(existsSync(target)).toBe(false)
    database.exec('ROLLBACK')
  }, 30_000)

  test('does not take away what another one made under the same name', async () => {
    const { database, directory } = filled(options())
    const target = path.join(directory, 'copy.sqlite3')
    const ends = await Promise.allSettled([database.backup(target), database.backup(target)])
    expect(ends.some(({ status }) => status === 'fulfilled')).toBe(true)
    expect(rowsOf(open(target, options()))).toBe(2000)
  }, 30_000)

  test('goes on if nobody holds the database', () => {
    const directory = temporaryDirectory()
    const program = `
      const { Database } = await import(${JSON.stringify(path.resolve('dist/index.js'))})
      const options = ${JSON.stringify(options().key === undefined ? {} : { key: [...key()] })}
      if (options.key) options.key = Uint8Array.from(options.key)
      const begin = () => {
        const database = new Database('source.sqlite3', options)
        database.exec('CREATE TABLE t (a); INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT randomblob(400) FROM n')
        return database.backup('copy.sqlite3', { progress: () => 20 })
      }
      const collecting = setInterval(gc, 1)
      await begin()
      clearInterval(collecting)
      const copy = new Database('copy.sqlite3', options)
      console.log(copy.prepare('SELECT count(*) FROM t').pluck().get())`
    const values = ['--expose-gc', '--input-type=module', '--eval', program]
    expect(execFileSync(process.execPath, values, { cwd: directory, encoding: 'utf8' }).trim()).toBe('5000')
  })

  test('replaces a database that is there, and leaves a file that is none', async () => {
    const { database, directory } = filled(options(), 10)
    const target = path.join(directory, 'copy.sqlite3')
    await database.backup(target)
    database.exec('DELETE FROM t WHERE a < 5')
    await database.backup(target)
    expect(rowsOf(open(target, options()))).toBe(5)
    const other = path.join(directory, 'other')
    writeFileSync(other, 'x'.repeat(5000))
    await expect(database.backup(other)).rejects.toMatchObject({ code: 'SQLITE_NOTADB' })
    expect(readFileSync(other, 'utf8')).toBe('x'.repeat(5000))
  })
})

test('the bytes of an encrypted database inside of its own writing transaction are refused, never empty', () => {
  const { database } = filled({ key: key() }, 10)
  database.pragma('journal_mode = WAL')
  const before = database.serialize()
  database.exec('BEGIN; DELETE FROM t')
  expect(() => database.serialize()).toThrow(expect.objectContaining({ code: 'SQLITE_BUSY' }))
  database.exec('ROLLBACK')
  for (const bytes of [before, database.serialize()]) {
    const copy = new Database(bytes, { key: key() })
    expect(rowsOf(copy)).toBe(10)
    copy.close()
  }
})

test('a subclass is what its own `open` gives', async () => {
  class Encrypted extends Database {
    constructor(file: string, options: DatabaseOptions) {
      super(file, { ...options, key: key() })
    }
  }
  const database = await Encrypted.open(path.join(temporaryDirectory(), 'a.sqlite3'), {})
  onTestFinished(() => void database.close())
  expect(database).toBeInstanceOf(Encrypted)
  expect(database.prepare('SELECT 1').pluck().get()).toBe(1)
})
