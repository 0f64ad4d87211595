/**
 * An encrypted SQLite database in one file, with better-sqlite3's API.
 *
 *     node database.mjs [directory]
 */
import { mkdtempSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Database, SqliteError } from '@nimbus/storage'

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'nimbus-example-'))
const file = join(directory, 'app.sqlite3')

// Yours to keep: without it the file is lost. Or give `keyProvider`, and the file has a key of its own, wrapped in a manifest beside it.
const key = randomBytes(32)

const database = new Database(file, { key })
database.exec('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, joined INTEGER)')

const insert = database.prepare('INSERT INTO users (name, joined) VALUES (?, ?)')
const addAll = database.transaction((/** @type {string[]} */ names) =>
  names.map((name) => insert.run(name, Date.now()).lastInsertRowid),
)
console.log('ids', addAll(['Ada', 'Grace', 'Barbara']))

console.log(database.prepare('SELECT id, name FROM users WHERE name = ?').get('Ada'))
for (const name of database.prepare('SELECT name FROM users ORDER BY name').pluck().iterate()) console.log(name)

await database.backup(join(directory, 'backup.sqlite3')) // under the same key
database.rekey(randomBytes(32))
database.close()

try {
  new Database(file, { key })
} catch (error) {
  console.log('with the key from before:', error instanceof SqliteError ? error.code : error)
}
const backup = new Database(join(directory, 'backup.sqlite3'), { key, readonly: true })
console.log('users in the backup', backup.prepare('SELECT count(*) FROM users').pluck().get())
backup.close()
