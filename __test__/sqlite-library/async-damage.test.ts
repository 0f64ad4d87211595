/** A page that was altered, met by native threads: no row comes of it, and they go on with the others. */
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Database, SqliteError } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import { READERS } from './asking.js'
import { KEY } from './kinds.js'

const PAGE_BYTES = 4096
const ROWS = 400
const CORRUPT = { name: 'SqliteError', code: 'SQLITE_CORRUPT' }
/** More than there are threads, so that connections are used again. */
const MANY = 3 * READERS

interface Row {
  readonly id: number
  readonly text: string
}

const rowsOf = (table: string): Row[] =>
  Array.from({ length: ROWS }, (_, index) => ({ id: index + 1, text: `${table} ${index + 1} `.repeat(100) }))

function flip(file: string, offset: number): void {
  const handle = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(handle, byte, 0, 1, offset)
  byte[0] = (byte[0] ?? 0) ^ 1
  writeSync(handle, byte, 0, 1, offset)
  closeSync(handle)
}

describe.each([{ exclusive: false }, { exclusive: true }])(
  'of an encrypted file with an altered page, %o',
  (options) => {
    let database: Database

    beforeEach(() => {
      const file = path.join(temporaryDirectory(), 'a.sqlite3')
      const made = new Database(file, { key: KEY })
      made.pragma('journal_mode = WAL')
      for (const table of ['good', 'long', 'bad']) {
        made.exec(`CREATE TABLE ${table} (id INTEGER PRIMARY KEY, text)`)
        const insert = made.prepare(`INSERT INTO ${table} VALUES ($id, $text)`)
        // One row, whose last overflow page is the last page of the file then.
        const rows = table === 'long' ? [{ id: 1, text: 'long '.repeat(5000) }] : rowsOf(table)
        made.transaction(() => rows.forEach((row) => insert.run(row)))()
        made.pragma('wal_checkpoint(TRUNCATE)')
        if (table === 'good') continue
        // A page is known to be authentic once it was written: only a connection that opens the file anew meets it.
        altered.push(statSync(file).size - PAGE_BYTES + 100)
      }
      made.close()
      for (const offset of altered.splice(0)) flip(file, offset)
      database = new Database(file, { key: KEY, ...options })
      onTestFinished(() => void database.close())
    })
    const altered: number[] = []

    test('every read that meets it is rejected, and every other one has its rows', async () => {
      const asked = Array.from({ length: MANY }, () => ['bad', 'good', 'long']).flat()
      const outcomes = await Promise.allSettled(asked.map((table) => database.async.all(`SELECT * FROM ${table}`)))
      for (const [index, outcome] of outcomes.entries()) {
        if (asked[index] === 'good') expect(outcome).toEqual({ status: 'fulfilled', value: rowsOf('good') })
        else expect(outcome).toMatchObject({ status: 'rejected', reason: CORRUPT })
      }
      // What SQLite would give without its overflow page is a row that ends with zeros.
      await expect(database.async.get('SELECT * FROM long')).rejects.toMatchObject(CORRUPT)
      await expect(database.async.get('SELECT length(text), substr(text, -1) FROM long')).rejects.toMatchObject(CORRUPT)
      expect(await database.async.get('SELECT * FROM bad WHERE id = 1')).toEqual(rowsOf('bad')[0])
    })

    test('an iteration gives the rows before it, and is rejected', async () => {
      const seen: unknown[] = []
      const reading = async (): Promise<void> => {
        for await (const row of database.async.iterate('SELECT * FROM bad')) seen.push(row)
      }
      for (let round = 0; round < READERS + 1; round += 1) {
        await expect(reading()).rejects.toMatchObject(CORRUPT)
        expect(seen).toEqual(rowsOf('bad').slice(0, seen.length))
        expect(seen.length).toBeLessThan(ROWS)
        seen.length = 0
      }
      expect(await database.async.all('SELECT * FROM good')).toEqual(rowsOf('good'))
    })

    test('a write that meets it is rejected and has changed nothing, and the next one is done', async () => {
      for (let round = 0; round < 3; round += 1) {
        const rejected = database.async.run("UPDATE bad SET text = text || 'changed'")
        const done = database.async.run("UPDATE good SET text = 'changed' WHERE id = ?", round + 1)
        await expect(rejected).rejects.toMatchObject(CORRUPT)
        expect(await done).toMatchObject({ changes: 1 })
      }
      await expect(database.async.run('INSERT INTO good SELECT NULL, text FROM long')).rejects.toBeInstanceOf(
        SqliteError,
      )
      const wanted = rowsOf('good').map((row) => (row.id <= 3 ? { ...row, text: 'changed' } : row))
      expect(await database.async.all('SELECT * FROM good')).toEqual(wanted)
      expect(await database.async.get('SELECT * FROM bad WHERE id = 1')).toEqual(rowsOf('bad')[0])
      // The database's own connection has not met it.
      expect(database.prepare('SELECT * FROM good').all()).toEqual(wanted)
    })
  },
)
