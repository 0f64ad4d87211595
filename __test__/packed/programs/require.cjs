/** The drop-in as CommonJS; `new` is as optional as it is with better-sqlite3. */
const assert = require('node:assert/strict')
const { join } = require('node:path')
const Database = require('@nimbus/storage/better-sqlite3')

const path = join(process.argv[2], 'required.sqlite3')
const database = Database(path, { key: Buffer.alloc(32, 7) })
assert.ok(database instanceof Database)
database.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
assert.deepEqual(database.prepare('SELECT * FROM t').all(), [{ a: 1 }])
assert.throws(() => database.prepare('SELECT * FROM u'), Database.SqliteError)
database.close()
