/** Encrypted databases: what is on the disk, who opens it, and what is said of pages that were altered. */
import { closeSync, existsSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Database, SqliteError, type DatabaseOptions } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const key = (): Buffer => Buffer.alloc(32, 0x5a)
const other = (): Buffer => Buffer.alloc(32, 0xa5)
const MARK = 'a secret that must not be on the disk'

function filled(options: DatabaseOptions, rows = 20): string {
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const database = new Database(file, options)
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  const insert = database.prepare('INSERT INTO t (text) VALUES (?)')
  for (let row = 0; row < rows; row += 1) insert.run(MARK.repeat(400))
  database.close()
  return file
}

const codeOf = (work: () => unknown): unknown => {
  try {
    work()
  } catch (error) {
    return error instanceof SqliteError ? error.code : error
  }
  return 'nothing was thrown'
}

describe.each(['sqlcipher-4', 'sqlcipher-4-sha256'] as const)('with the profile %s', (profile) => {
  const options = (): DatabaseOptions => ({ key: key(), profile })

  test('nothing of the content is on the disk, and the key opens it again', () => {
    const file = filled(options())
    expect(readFileSync(file).includes(MARK.slice(0, 16))).toBe(false)
    expect(readFileSync(file).subarray(0, 15).toString()).not.toBe('SQLite format 3')
    const database = new Database(file, options())
    expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(20)
    database.close()
  })

  test('another key, and none, are refused without a change of the file', () => {
    const file = filled(options())
    const before = readFileSync(file)
    expect(codeOf(() => new Database(file, { key: other(), profile }))).toBe('SQLITE_NOTADB')
    expect(codeOf(() => new Database(file).prepare('SELECT * FROM t').all())).toBe('SQLITE_NOTADB')
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  test.each(['wal', 'delete'])('no row is returned from a page with one bit flipped (journal mode %s)', (mode) => {
    const file = filled(options(), 3)
    const pages = statSync(file).size / 4096
    expect(pages).toBeGreaterThan(8)
    const genuine = MARK.repeat(400)
    let refused = 0
    for (let page = 1; page < pages; page += 1) {
      flipBit(file, page * 4096 + 1000)
      const database = new Database(file, options())
      database.pragma(`journal_mode = ${mode}`)
      const reads: (() => unknown[])[] = [
        () => database.prepare('SELECT text FROM t').pluck().all(),
        () => [...database.prepare('SELECT text FROM t').pluck().iterate()],
        ...[1, 2, 3].map((id) => () => [database.prepare('SELECT text FROM t WHERE id = ?').pluck().get(id)]),
      ]
      for (const read of reads) {
        try {
          for (const text of read()) expect(text).toBe(genuine)
        } catch (error) {
          expect(error).toBeInstanceOf(SqliteError)
          expect(error).toHaveProperty('code', 'SQLITE_CORRUPT')
          refused += 1
        }
      }
      database.close()
      flipBit(file, page * 4096 + 1000)
    }
    // Each page is one that at least the whole scans need.
    expect(refused).toBeGreaterThanOrEqual((pages - 1) * 2)
  })

  test('a backup and the bytes of serialize are under the same key', async () => {
    const file = filled(options())
    const database = new Database(file, options())
    const copy = `${file}.copy`
    await database.backup(copy)
    const bytes = database.serialize()
    database.close()
    expect(readFileSync(copy).includes(MARK.slice(0, 16))).toBe(false)
    expect(bytes.includes(MARK.slice(0, 16))).toBe(false)
    for (const source of [copy, bytes]) {
      const again = new Database(source, options())
      expect(again.prepare('SELECT count(*) FROM t').pluck().get()).toBe(20)
      again.close()
    }
  })

  test('rekey leaves every row under the new key, and the old one opens nothing', () => {
    const file = filled(options())
    const database = new Database(file, options())
    database.rekey(other())
    expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(20)
    database.close()
    expect(codeOf(() => new Database(file, options()))).toBe('SQLITE_NOTADB')
    const again = new Database(file, { key: other(), profile })
    expect(again.prepare('SELECT text FROM t WHERE id = 20').pluck().get()).toBe(MARK.repeat(400))
    again.close()
  })
})

function flipBit(file: string, at: number): void {
  const byte = readFileSync(file)[at] ?? 0
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, Uint8Array.of(byte ^ 1), 0, 1, at)
  closeSync(descriptor)
}

test.each([
  `PRAGMA key = 'x'`,
  `PRAGMA rekey = 'x'`,
  'PRAGMA hexkey = "00"',
  'PRAGMA cipher_plaintext_header_size = 32',
  'PRAGMA cipher_hmac_pgno = be',
  'PRAGMA cipher_default_page_size = 512',
  'PRAGMA page_size = 512',
  'PRAGMA auto_vacuum = 1',
  'PRAGMA secure_delete = 0',
  'PRAGMA temp_store = 1',
  `SELECT sqlcipher_export('main')`,
])('an encrypted file refuses %s', (sql) => {
  const file = filled({ key: key() }, 1)
  const database = new Database(file, { key: key() })
  expect(() => database.exec(sql)).toThrow(/not authorized/)
  database.close()
  expect(new Database(file, { key: key() }).prepare('SELECT count(*) FROM t').pluck().get()).toBe(1)
})

test.each(['sqlcipher-4', 'sqlcipher-4-sha256'] as const)(
  'a file is %s whatever SQL made of the defaults',
  (profile) => {
    const plain = new Database(':memory:')
    const setAll = (values: readonly (string | number)[]): void => {
      const names = [
        'compatibility',
        'page_size',
        'use_hmac',
        'plaintext_header_size',
        'kdf_algorithm',
        'hmac_algorithm',
      ]
      for (const [index, value] of values.entries()) plain.exec(`PRAGMA cipher_default_${names[index]} = ${value}`)
    }
    const earlier = filled({ key: key(), profile }, 3)
    let later = ''
    setAll([1, 1024, 0, 32, 'PBKDF2_HMAC_SHA1', 'HMAC_SHA1'])
    try {
      const database = new Database(earlier, { key: key(), profile })
      expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3)
      database.close()
      later = filled({ key: key(), profile }, 4)
    } finally {
      setAll([4, 4096, 1, 0, 'PBKDF2_HMAC_SHA512', 'HMAC_SHA512'])
    }
    const database = new Database(later, { key: key(), profile })
    expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(4)
    expect(Number(database.pragma('page_size', { simple: true }))).toBe(4096)
    database.close()
  },
)

test('a file that VACUUM INTO or ATTACH makes is under the same key', () => {
  const file = filled({ key: key() }, 2)
  const database = new Database(file, { key: key() })
  const copies = [`${file}.vacuum`, `${file}.attached`]
  database.prepare('VACUUM INTO ?').run(copies[0])
  database.prepare('ATTACH ? AS a').run(copies[1])
  database.exec('CREATE TABLE a.t AS SELECT * FROM main.t')
  database.close()
  for (const copy of copies) {
    expect(existsSync(copy)).toBe(true)
    expect(readFileSync(copy).includes(MARK.slice(0, 16))).toBe(false)
    const again = new Database(copy, { key: key() })
    expect(again.prepare('SELECT count(*) FROM t').pluck().get()).toBe(2)
    again.close()
  }
})

test('a key is 32 bytes, is wiped where that is asked for, and else left alone', () => {
  for (const wrong of [Buffer.alloc(31), Buffer.alloc(33), 'x'.repeat(32), 1, null]) {
    expect(() => new Database(':memory:', Object.assign({}, { key: wrong }) as never)).toThrow(TypeError)
  }
  const file = path.join(temporaryDirectory(), 'a.sqlite3')
  const kept = key()
  new Database(file, { key: kept }).close()
  expect(kept.equals(key())).toBe(true)
  const wiped = key()
  new Database(file, { key: wiped, wipeKey: true }).close()
  expect(wiped.equals(Buffer.alloc(32))).toBe(true)
})

test('a plain file is not taken for an encrypted one', () => {
  const file = filled({})
  const before = readFileSync(file)
  expect(codeOf(() => new Database(file, { key: key() }))).toBe('SQLITE_NOTADB')
  expect(readFileSync(file).equals(before)).toBe(true)
  writeFileSync(file, before.subarray(0, 5000))
  expect(codeOf(() => new Database(file, { key: key() }))).toBe('SQLITE_NOTADB')
})

test('an exclusive file is busy for another process, whatever that only wants to read', async () => {
  const file = filled({ key: key() })
  const database = new Database(file, { key: key(), exclusive: true })
  database.pragma('journal_mode = WAL')
  expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(20)
  const { execFileSync } = await import('node:child_process')
  const cjs = path.resolve(import.meta.dirname, '../../dist/cjs/better-sqlite3.cjs')
  const script = `
    const Database = require(${JSON.stringify(cjs)})
    try {
      new Database(${JSON.stringify(file)}, { key: Buffer.alloc(32, 0x5a), timeout: 0 }).prepare('SELECT * FROM t').all()
      console.log('read')
    } catch (error) { console.log(error.code) }`
  expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim()).toBe('SQLITE_BUSY')
  database.close()
  expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim()).toBe('read')
})
