/** A log that somebody puts beside a file in a rollback mode while it is open: SQLite takes it up, and it is worth what an older file is. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Database } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import { KEY } from './kinds.js'

const HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24
const FRAME_BYTES = FRAME_HEADER_BYTES + 4096

/** SQLite's checksum of a log ("WAL-mode File Format", section 4.2) goes on with `bytes`, in words of the machine that wrote it. */
function checksum([first, second]: [number, number], bytes: Buffer): [number, number] {
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + bytes.readUInt32LE(at) + second) >>> 0
    second = (second + bytes.readUInt32LE(at + 4) + first) >>> 0
  }
  return [first, second]
}

/** The log with a bit of each page changed, and checksums that are right. */
function altered(log: Buffer): Buffer {
  let sum = checksum([0, 0], log.subarray(0, 24))
  for (let at = HEADER_BYTES; at < log.length; at += FRAME_BYTES) {
    const page = log.subarray(at + FRAME_HEADER_BYTES, at + FRAME_BYTES)
    page[2000] = (page[2000] ?? 0) ^ 1
    sum = checksum(checksum(sum, log.subarray(at, at + 8)), page)
    log.writeUInt32BE(sum[0], at + 16)
    log.writeUInt32BE(sum[1], at + 20)
  }
  return log
}

/** A file in a rollback mode that has a new row, and a log of it from when the row was old. */
function made(): { file: string; log: Buffer } {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const database = new Database(file, { key: KEY })
  database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (state); INSERT INTO t VALUES ('old')")
  const log = readFileSync(`${file}-wal`)
  database.exec("UPDATE t SET state = 'new'; PRAGMA journal_mode = DELETE")
  database.close()
  return { file, log }
}

describe.each([{ exclusive: false }, { exclusive: true }])('beside an open file, %o,', (options) => {
  function opened(file: string): Database {
    const database = new Database(file, { key: KEY, ...options })
    onTestFinished(() => void database.close())
    expect(database.prepare('SELECT state FROM t').pluck().all()).toEqual(['new'])
    return database
  }

  test('an older log of the file brings the older rows back', () => {
    const { file, log } = made()
    const database = opened(file)
    writeFileSync(`${file}-wal`, log)
    expect(database.prepare('SELECT state FROM t').pluck().all()).toEqual(['old'])
    expect(database.pragma('journal_mode', { simple: true })).toBe('wal')
  })

  test('no row comes of a log with altered pages, and they are not written into the file', () => {
    const { file, log } = made()
    const database = opened(file)
    const before = readFileSync(file)
    writeFileSync(`${file}-wal`, altered(log))
    const corrupt = expect.objectContaining({ code: 'SQLITE_CORRUPT' }) as Error
    expect(() => database.prepare('SELECT state FROM t').all()).toThrow(corrupt)
    expect(() => database.exec("INSERT INTO t VALUES ('more')")).toThrow(corrupt)
    database.close()
    expect(readFileSync(file).equals(before)).toBe(true)
    expect(() => new Database(file, { key: KEY, ...options })).toThrow(corrupt)
  })
})
