/** Databases that nimbus has not made, taken through every command: what comes out at the end is what went in, row by row. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Database } from '../../src/sqlite/database.js'
import { type Finished, newHome, runNimbus } from '../support/cli.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'

const FIXTURES = new URL('../fixtures/third-party/', import.meta.url)
const SUBJECT = ['--provider', 'sqlite', '--tenant-id', 'demo']

/** A database of the settings and statements that are given. */
const made =
  (...sql: string[]) =>
  (file: string): void => {
    const database = new Database(file)
    for (const statement of sql) database.exec(statement)
    database.close()
  }

const shipped =
  (name: string) =>
  (file: string): void => {
    copyFileSync(new URL(name, FIXTURES), file)
  }

const numbers = (count: number, row: string): string =>
  `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT ${count}) SELECT ${row} FROM n`

const DATABASES: [string, (file: string) => void][] = [
  ['a GeoPackage of GDAL', shipped('geopackage.gpkg')],
  ['a collection of Anki', shipped('anki-collection.anki2')],
  [
    'one with views, triggers, full-text search, tables without rowids, generated columns and gaps between rowids',
    made(
      'PRAGMA user_version = -7; PRAGMA application_id = 1196444487',
      'CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE, born REAL DEFAULT 1.5)',
      `INSERT INTO people (name) ${numbers(500, "'person ' || x")}`,
      'DELETE FROM people WHERE id % 7 = 0 OR id > 490',
      'CREATE TABLE log (what TEXT, at ANY) STRICT',
      'CREATE TRIGGER told AFTER UPDATE ON people BEGIN INSERT INTO log VALUES (new.name, new.id); END',
      "UPDATE people SET name = 'O''Brien; --' WHERE id = 5",
      'CREATE VIEW elders AS SELECT * FROM people WHERE born < 2',
      'CREATE TRIGGER through INSTEAD OF DELETE ON elders BEGIN DELETE FROM people WHERE id = old.id; END',
      'CREATE TABLE pairs (a, b, c GENERATED ALWAYS AS (a || b) STORED, PRIMARY KEY (b, a)) WITHOUT ROWID',
      `INSERT INTO pairs (a, b) ${numbers(300, 'x, x % 10')}`,
      'CREATE UNIQUE INDEX pairs_by_c ON pairs (c DESC) WHERE a > 5',
      'CREATE INDEX people_by_length ON people (length(name))',
      "CREATE VIRTUAL TABLE words USING fts5(title, body, tokenize = 'porter')",
      `INSERT INTO words ${numbers(200, "'title ' || x, 'running through the body of number ' || x")}`,
      'DELETE FROM words WHERE rowid % 3 = 0',
      'CREATE VIRTUAL TABLE places USING rtree(id, west, east)',
      `INSERT INTO places ${numbers(100, 'x, x, x + 1.5')}`,
      'ANALYZE',
    ),
  ],
  [
    'one of the smallest pages, in UTF-16, with auto-vacuum and long blobs',
    made(
      "PRAGMA page_size = 512; PRAGMA encoding = 'UTF-16be'; PRAGMA auto_vacuum = FULL",
      'CREATE TABLE "odd ""name""; --" ("a column" BLOB, [select] TEXT, `null`)',
      `INSERT INTO "odd ""name""; --" ${numbers(60, "randomblob(x * 300), 'ünïcödé ' || x, CASE x % 3 WHEN 0 THEN NULL WHEN 1 THEN 1e300 ELSE -9223372036854775807 - 1 END")}`,
      `INSERT INTO "odd ""name""; --" VALUES (zeroblob(1000000), char(0) || 'nul', x'')`,
    ),
  ],
  [
    'one of the largest pages, with a schema of many tables',
    made(
      'PRAGMA page_size = 65536',
      ...Array.from({ length: 150 }, (_, at) => `CREATE TABLE t${at} (a PRIMARY KEY, b REFERENCES t0)`),
      `INSERT INTO t7 ${numbers(1_000, 'x, NULL')}`,
    ),
  ],
  [
    'one that holds nothing but its version',
    made('PRAGMA user_version = 3', 'CREATE TABLE gone (x)', 'DROP TABLE gone'),
  ],
]

/** Everything in a plaintext database, as text: its schema in order, each row with its rowid, and what its header says of it. */
function dumpOf(file: string): string[] {
  const database = new Database(file, { readonly: true, fileMustExist: true })
  const texts = (sql: string): string[] => database.prepare(sql).pluck().all().map(String)
  const lines = texts(
    'SELECT quote(type) || quote(name) || quote(tbl_name) || quote(sql) FROM sqlite_schema ORDER BY rowid',
  )
  const tables = texts(
    "SELECT quote(name) || '/' || wr FROM pragma_table_list WHERE schema = 'main' AND type <> 'view' AND name <> 'sqlite_schema'",
  )
  for (const table of tables.sort()) {
    const [, name = '', isWithoutRowid] = /^(.*)\/([01])$/s.exec(table) ?? []
    const columns = texts(`SELECT 'quote("' || replace(name, '"', '""') || '")' FROM pragma_table_xinfo(${name})`)
    const cells = [...(isWithoutRowid === '1' ? [] : ['rowid']), ...columns].join(" || ',' || ")
    const order = isWithoutRowid === '1' ? '' : ' ORDER BY rowid'
    const quoted = `"${name.slice(1, -1).replaceAll("''", "'").replaceAll('"', '""')}"`
    lines.push(...texts(`SELECT ${cells} FROM ${quoted}${order}`).map((row) => `${name} ${row}`))
  }
  for (const pragma of ['user_version', 'application_id', 'encoding']) lines.push(...texts(`PRAGMA ${pragma}`))
  expect(texts('PRAGMA integrity_check')).toEqual(['ok'])
  database.close()
  return lines
}

/** What SQLite's own shell makes of it; undefined where there is none. */
function shellDumpOf(file: string): string | undefined {
  const { error, status, stdout, stderr } = spawnSync('sqlite3', [file, '.dump'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  if (error !== undefined) return undefined
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

describe('a database of other people', () => {
  it.each(DATABASES)('is the same after migrate, rotate-dek, rotate-kek and export: %s', async (_what, make) => {
    const home = newHome()
    const elsewhere = temporaryDirectory()
    const source = path.join(elsewhere, 'demo.sqlite3')
    make(source)
    mkdirSync(home.dataDir)
    const [before, shellBefore] = [dumpOf(source), shellDumpOf(source)]
    const file = path.join(home.dataDir, 'demo.sqlite3')
    const exported = path.join(elsewhere, 'exported.sqlite3')
    const newKey = writeIn(home.root, 'new.key', randomBytes(32), 0o400)
    const run = async (words: string[], env = home.env): Promise<void> => {
      const { code, stderr }: Finished = await runNimbus(['encryption', ...words], env)
      expect({ words, code, stderr }).toMatchObject({ code: 0 })
    }
    await run(['migrate', '--source', source, '--target', file, ...SUBJECT, '--retire-source'])
    expect(readFileSync(file).includes('SQLite format 3')).toBe(false)
    await run(['rotate-dek', '--path', file, ...SUBJECT])
    await run(['verify', '--path', home.dataDir])
    await run(['rotate-kek', '--path', file, '--new-master-key-file', newKey])
    const env = { ...home.env, NIMBUS_ENCRYPTION_MASTER_KEY_FILE: newKey }
    await run(['export', '--source', file, '--target', exported, ...SUBJECT], env)
    expect(dumpOf(exported)).toEqual(before)
    expect(shellDumpOf(exported)).toBe(shellBefore)
  })
})
