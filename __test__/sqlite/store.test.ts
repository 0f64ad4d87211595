import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import {
  Dek,
  FileLock,
  randomBytes,
  readMasterKeyFile,
  SqliteStore,
  StatementError,
  type CipherProfile,
  type SqlParameter,
  type Step,
} from '../../src/native.js'

const formats: { name: string; profile: CipherProfile | undefined }[] = [
  { name: 'plain', profile: undefined },
  { name: 'sqlcipher-4', profile: 'sqlcipher-4' },
  { name: 'sqlcipher-4-sha256', profile: 'sqlcipher-4-sha256' },
]

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nimbus-store-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

describe.each(formats)('a store over a $name file', ({ profile }) => {
  const options = () => {
    const path = join(directory, 'a.sqlite3')
    return profile === undefined
      ? { path, exclusive: true }
      : { path, exclusive: true, encryption: { dek: Dek.generate(), fileId: randomBytes(16), profile } }
  }

  const rows = (count: number, from = 0): Step[] =>
    Array.from({ length: count }, (_, index) => ({
      sql: 'INSERT INTO t (id, body) VALUES (?, ?)',
      params: [from + index, `body ${String(from + index)}`],
    }))

  it('gives back what was written, before and after it is opened again', async () => {
    const opened = options()
    const store = SqliteStore.open({ ...opened, mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, extra)' }, ...rows(100)])
    expect(store.get('SELECT body FROM t WHERE id = ?', [7])).toEqual(['body 7'])
    await store.close()
    expect(statSync(opened.path).mode & 0o777).toBe(0o600)
    const again = SqliteStore.open({ ...opened, mode: 'open' })
    expect(await again.query('SELECT count(*), max(id) FROM t', [])).toEqual([[100, 99]])
    await again.close()
  })

  it('keeps every storage class as it is', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE v (value)' }])
    const values = [
      null,
      0,
      1.5,
      -0.25,
      2 ** 53,
      1e300,
      '',
      'a\0b',
      'ünï ☃ 𝄞',
      new Uint8Array([0, 255]),
      new Uint8Array(),
    ]
    await store.write(values.map((value) => ({ sql: 'INSERT INTO v VALUES (?)', params: [value] })))
    expect(await store.query('SELECT value FROM v ORDER BY rowid', [])).toEqual(values.map((value) => [value]))
    await store.write([{ sql: 'INSERT INTO v VALUES (?)', params: [true] }])
    expect(store.get('SELECT value, typeof(value) FROM v ORDER BY rowid DESC LIMIT 1', [])).toEqual([1, 'integer'])
    await store.close()
  })

  it('lets each request of a group commit stand or fall alone', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)' }])
    const before = store.stats.commits
    const requests = [
      store.write(rows(3)),
      store.write([...rows(1, 3), ...rows(1, 1)]),
      store.write([{ sql: 'UPDATE t SET body = ? WHERE id = ?', params: ['x', 99], atLeast: 1 }]),
      store.write([{ sql: 'INSERT INTO t VALUES (?, ?)', params: [50, null] }]),
      store.write([{ sql: 'INSERT INTO nowhere VALUES (1)' }]),
      store.write(rows(1, 10)),
    ]
    const outcomes = await Promise.allSettled(requests)
    const kinds = outcomes.map((outcome) =>
      outcome.status === 'fulfilled'
        ? 'written'
        : outcome.reason instanceof StatementError
          ? `${outcome.reason.kind} at ${String(outcome.reason.step)}`
          : String(outcome.reason),
    )
    expect(kinds).toEqual([
      'written',
      'constraint_unique at 1',
      'expectation_failed at 0',
      'constraint at 0',
      'sql at 0',
      'written',
    ])
    expect(await store.query('SELECT id FROM t ORDER BY id', [])).toEqual([[0], [1], [2], [10]])
    expect(store.stats.commits - before).toBeLessThan(requests.length)
    await store.close()
  })

  it('commits what one turn of the event loop brings as one transaction, in its order, before a checkpoint of that turn', async () => {
    const opened = options()
    const store = SqliteStore.open({ ...opened, mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' }])
    const before = store.stats.commits
    const writes = Array.from({ length: 100 }, (_, index) => store.write(rows(1, index)))
    const overwrite = store.write([{ sql: "UPDATE t SET body = 'last'" }])
    const checkpoint = store.checkpoint()
    await Promise.all([...writes, overwrite, checkpoint])
    expect(store.stats.commits - before).toBe(1)
    expect(store.get("SELECT count(*) FROM t WHERE body = 'last'", [])).toEqual([100])
    expect(statSync(`${opened.path}-wal`).size).toBe(0)
    await store.close()
  })

  it('returns the rows of a statement that changes and reports', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' }, ...rows(3)])
    const results = await store.write([{ sql: 'DELETE FROM t WHERE id > ? RETURNING id', params: [0], atLeast: 2 }])
    expect(results).toEqual([{ changes: 2, rows: [[1], [2]] }])
    await store.close()
  })

  it('ends the rows of a query before those that would make it too large, and says so', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    const sql = 'SELECT value FROM json_each(\'["aaaa","bbbb","cccc"]\')'
    expect(await store.queryUpTo(12, sql, [])).toEqual({ rows: [['aaaa'], ['bbbb'], ['cccc']], isCut: false })
    expect(await store.queryUpTo(11, sql, [])).toEqual({ rows: [['aaaa'], ['bbbb']], isCut: true })
    expect(await store.queryUpTo(1, sql, [])).toEqual({ rows: [['aaaa']], isCut: true })
    expect(await store.queryUpTo(1, 'SELECT 1 WHERE FALSE', [])).toEqual({ rows: [], isCut: false })
    await store.close()
  })

  it('refuses to write through a read, to attach, and to change the format', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' }])
    expect(() => store.get('DELETE FROM t RETURNING id', [])).toThrow(StatementError)
    await expect(store.query('INSERT INTO t VALUES (1, 2) RETURNING id', [])).rejects.toThrow(StatementError)
    const other = join(directory, 'other.sqlite3')
    const forbidden = [
      `ATTACH '${other}' AS other`,
      `VACUUM INTO '${other}'`,
      "PRAGMA key = 'x'",
      "PRAGMA rekey = 'x'",
      'PRAGMA cipher_plaintext_header_size = 32',
      'PRAGMA cipher_hmac_pgno = be',
      "PRAGMA cipher_default_hmac_algorithm = 'HMAC_SHA1'",
      'PRAGMA secure_delete = off',
      'PRAGMA temp_store = 1',
      'PRAGMA journal_mode = DELETE',
      'PRAGMA auto_vacuum = 1',
      'PRAGMA page_size = 8192',
      "SELECT sqlcipher_export('main')",
      "SELECT load_extension('x')",
    ]
    for (const sql of forbidden) await expect(store.write([{ sql }]), sql).rejects.toThrow(StatementError)
    expect(() => statSync(other)).toThrow()
    expect(await store.query('PRAGMA integrity_check', [])).toEqual([['ok']])
    await store.close()
  })

  it('has full-text search, JSON, mathematics and no temporary files on disk', async () => {
    const store = SqliteStore.open({ ...options(), mode: 'create' })
    await store.write([
      { sql: 'CREATE VIRTUAL TABLE words USING fts5(body)' },
      { sql: 'INSERT INTO words VALUES (?)', params: ['the quick brown fox'] },
    ])
    expect(store.get("SELECT count(*) FROM words WHERE words MATCH 'quick'", [])).toEqual([1])
    expect(
      store.get(`SELECT json_extract(?, '$.a'), round(sin(0)), json_patch('{"a":1}', '{"a":null}')`, ['{"a":5}']),
    ).toEqual([5, 0, '{}'])
    const compiled = (await store.query('PRAGMA compile_options', [])).map(([option]) => option)
    expect(compiled).toEqual(
      expect.arrayContaining([
        'TEMP_STORE=3',
        'THREADSAFE=2',
        'ENABLE_COLUMN_METADATA',
        'ENABLE_FTS5',
        'DEFAULT_MEMSTATUS=0',
        'OMIT_SHARED_CACHE',
      ]),
    )
    expect(compiled).not.toContain('ENABLE_API_ARMOR')
    await store.close()
  })

  it('finishes what was queued before it closes, and refuses what comes later', async () => {
    const opened = options()
    const store = SqliteStore.open({ ...opened, mode: 'create' })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)' }])
    const queued = Array.from({ length: 50 }, (_, index) => store.write(rows(1, index)))
    const closed = store.close()
    const late = store.write(rows(1, 1000))
    await expect(late).rejects.toMatchObject({ code: 'shutting_down' })
    await Promise.all(queued)
    await closed
    await store.close()
    expect(() => store.get('SELECT 1', [])).toThrow(NimbusError)
    const again = SqliteStore.open({ ...opened, mode: 'open' })
    expect(again.get('SELECT count(*) FROM t', [])).toEqual([50])
    await again.close()
  })

  it('never takes a missing or an empty file for a database, nor an existing one for a new one', async () => {
    const opened = options()
    expect(() => SqliteStore.open({ ...opened, mode: 'open' })).toThrow(
      expect.objectContaining({ code: 'data_missing' }),
    )
    writeFileSync(opened.path, '')
    expect(() => SqliteStore.open({ ...opened, mode: 'open' })).toThrow(
      expect.objectContaining({ code: 'file_corrupt' }),
    )
    expect(() => SqliteStore.open({ ...opened, mode: 'create' })).toThrow(
      expect.objectContaining({ code: 'target_exists' }),
    )
    expect(statSync(opened.path).size).toBe(0)
  })
})

describe('a value that SQL has no type for', () => {
  it('is a TypeError everywhere, and leaves the store as it was', async () => {
    const path = join(directory, 'a.sqlite3')
    const store = SqliteStore.open({ path, mode: 'create', exclusive: true })
    const foreign: unknown[] = [
      1n,
      Symbol('x'),
      () => 1,
      {},
      [1],
      new Date(),
      new DataView(new ArrayBuffer(3)),
      new Float64Array(1),
    ]
    for (const value of foreign) {
      const params = [value] as SqlParameter[]
      expect(() => store.get('SELECT ?', params)).toThrow(TypeError)
      await expect(store.query('SELECT ?', params)).rejects.toThrow(TypeError)
      await expect(store.write([{ sql: 'SELECT ?', params }])).rejects.toThrow(TypeError)
    }
    const together = await Promise.allSettled([
      store.write([{ sql: 'CREATE TABLE t (id)' }]),
      ...foreign.map((value) => store.write([{ sql: 'SELECT ?', params: [value] as SqlParameter[] }])),
      store.write([{ sql: 'INSERT INTO t VALUES (1)' }]),
    ])
    const outcomes = together.map((outcome) =>
      outcome.status === 'rejected' && outcome.reason instanceof TypeError ? 'a TypeError' : outcome.status,
    )
    expect(outcomes).toEqual(['fulfilled', ...foreign.map(() => 'a TypeError'), 'fulfilled'])
    expect(store.get('SELECT count(*) FROM t', [])).toEqual([1])
    expect(store.get('SELECT ?', ['a\0b'])).toEqual(['a\0b'])
    expect(store.get('SELECT ?', ['a\ud800b'])).toEqual(['a\ufffdb'])
    expect(store.get('SELECT ?', [new Uint8Array(new SharedArrayBuffer(3))])).toEqual([new Uint8Array(3)])
    expect(store.stats.queued).toBe(0)
    await store.close()
  })
})

describe('a native failure', () => {
  it('carries the fields that are known and no others', () => {
    const path = join(directory, 'nothing.key')
    const thrown = catchError(() => readMasterKeyFile(path))
    expect(thrown).toMatchObject({ code: 'key_missing', path, detail: { reason: 'missing', bytes: 0 } })
    const lock = FileLock.exclusive(join(directory, 'lock'))
    const busy = catchError(() => FileLock.exclusive(join(directory, 'lock')))
    expect(busy.detail).toEqual({ owner_pid: process.pid, owner_host: hostname() })
    lock.release()
    const missing = catchError(() => SqliteStore.open({ path, mode: 'open', exclusive: true }))
    expect(missing.detail).toEqual({})
    expect(() => Dek.generate().commitment(new Uint8Array(31))).toThrow('a salt has 32 bytes')
  })
})

function catchError(call: () => unknown): NimbusError {
  try {
    call()
  } catch (thrown) {
    if (thrown instanceof NimbusError) return thrown
  }
  throw new Error('expected a NimbusError')
}

describe('an encrypted file', () => {
  const encryption = (profile: CipherProfile = 'sqlcipher-4-sha256') => ({
    dek: Dek.generate(),
    fileId: randomBytes(16),
    profile,
  })

  it('begins with the file id and shows no header and no plaintext', async () => {
    const path = join(directory, 'a.sqlite3')
    const key = encryption()
    const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption: key })
    await store.write([
      { sql: 'CREATE TABLE secret_table (body TEXT)' },
      { sql: "INSERT INTO secret_table VALUES ('plain words')" },
    ])
    const log = readFileSync(`${path}-wal`)
    await store.close()
    const data = readFileSync(path)
    expect(new Uint8Array(data.subarray(0, 16))).toEqual(key.fileId)
    for (const bytes of [data, log]) {
      for (const text of ['SQLite format 3', 'secret_table', 'plain words']) expect(bytes.includes(text)).toBe(false)
    }
  })

  it('does not open under another key, another file id or another profile, and is not touched by the attempt', async () => {
    const path = join(directory, 'a.sqlite3')
    const key = encryption()
    const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption: key })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }])
    await store.close()
    const before = readFileSync(path)
    const wrong = [
      { ...key, dek: Dek.generate() },
      { ...key, fileId: randomBytes(16) },
      { ...key, profile: 'sqlcipher-4' as const },
      undefined,
    ]
    for (const encryption of wrong) {
      expect(() => SqliteStore.open({ path, mode: 'open', exclusive: true, encryption })).toThrow(
        expect.objectContaining({ code: 'file_corrupt' }),
      )
    }
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  it("is not written over by another file's log: without that log it is whole again", async () => {
    const [path, other] = [join(directory, 'a.sqlite3'), join(directory, 'b.sqlite3')]
    const key = encryption()
    const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption: key })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }, { sql: 'INSERT INTO t VALUES (7)' }])
    await store.close()
    const foreign = SqliteStore.open({ path: other, mode: 'create', exclusive: true, encryption: encryption() })
    await foreign.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }])
    const before = readFileSync(path)
    writeFileSync(`${path}-wal`, readFileSync(`${other}-wal`))
    await foreign.close()
    const open = () => SqliteStore.open({ path, mode: 'open', exclusive: true, encryption: key })
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(open).toThrow(expect.objectContaining({ code: 'file_corrupt' }))
      expect(readFileSync(path).equals(before)).toBe(true)
    }
    rmSync(`${path}-wal`)
    const again = open()
    expect(again.get('SELECT id FROM t', [])).toEqual([7])
    await again.close()
  })

  it('opens after its first 16 bytes were lost: the salt is in the manifest', async () => {
    const path = join(directory, 'a.sqlite3')
    const key = encryption()
    const store = SqliteStore.open({ path, mode: 'create', exclusive: true, encryption: key })
    await store.write([{ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' }])
    await store.close()
    const damaged = readFileSync(path).fill(0, 0, 16)
    writeFileSync(path, damaged)
    const again = SqliteStore.open({ path, mode: 'open', exclusive: true, encryption: key })
    expect(again.get('SELECT count(*) FROM t', [])).toEqual([0])
    await again.close()
  })
})
