/** Every entry of the package as an ES module, and what each is for. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { Database, NimbusError, Store, utf8 } from '@nimbus/storage'
import DropIn from '@nimbus/storage/better-sqlite3'
import { KeyvNimbus } from '@nimbus/storage/keyv'
import { NimbusLevel } from '@nimbus/storage/level'

const directory = process.argv[2]
const key = () => Buffer.alloc(32, 7)
const ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n'

for (const [Class, name] of [
  [Database, 'named'],
  [DropIn, 'drop-in'],
]) {
  const database = new Class(join(directory, `${name}.sqlite3`), { key: key() })
  database.exec('CREATE TABLE t (a, b)')
  const insert = database.prepare('INSERT INTO t VALUES (?, ?)')
  database.transaction(() => [1, 2, 3].forEach((n) => insert.run(n, `row ${n}`)))()
  assert.deepEqual(database.prepare('SELECT * FROM t WHERE a = ?').get(2), { a: 2, b: 'row 2' })
  assert.deepEqual([...database.prepare('SELECT b FROM t ORDER BY a').pluck().iterate()], ['row 1', 'row 2', 'row 3'])
  await database.async.run('INSERT INTO t VALUES (4, ?)', 'row 4')
  assert.deepEqual(await database.async.all('SELECT b FROM t WHERE a > 2 ORDER BY a'), [{ b: 'row 3' }, { b: 'row 4' }])
  const ended = assert.rejects(database.async.get(ENDLESS), { code: 'SQLITE_INTERRUPT' })
  for await (const row of database.async.iterate('SELECT a FROM t')) if (row.a === 2) break
  database.close()
  await ended
  assert.throws(() => new Class(join(directory, `${name}.sqlite3`)).prepare('SELECT * FROM t'), {
    code: 'SQLITE_NOTADB',
  })
}

const store = await Store.open({ path: join(directory, 'store.redb'), key: key() })
const table = store.table('t', { keys: utf8, values: utf8 })
await table.put('a', 'one')
assert.equal(table.get('a'), 'one')
const keyv = new KeyvNimbus({ store, table: 'cache' })
await keyv.set('b', 'two')
assert.equal(await keyv.get('b'), 'two')
await store.close()
await assert.rejects(
  Store.open({ path: join(directory, 'store.redb'), key: Buffer.alloc(32, 8) }),
  (error) => error instanceof NimbusError && error.code === 'key_wrong',
)

const level = new NimbusLevel(join(directory, 'level.redb'), { key: key() })
await level.put('c', 'three')
assert.equal(await level.get('c'), 'three')
await level.close()
