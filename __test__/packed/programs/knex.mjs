import assert from 'node:assert/strict'
import knex from 'knex'
import BetterSqlite3Client from 'knex/lib/dialects/better-sqlite3/index.js'
import { EncryptedDatabase, file } from './encrypted.mjs'

class EncryptedClient extends BetterSqlite3Client {
  _driver() {
    return EncryptedDatabase
  }
}

const db = knex({ client: EncryptedClient, connection: { filename: file }, useNullAsDefault: true })
await db.schema.createTable('users', (table) => {
  table.increments()
  table.string('name').notNullable().unique()
})
await db.schema.createTable('posts', (table) => {
  table.increments()
  table.string('title').notNullable()
  table.integer('author_id').references('users.id')
})
const [ada] = await db('users').insert({ name: 'Ada' }).returning('*')
assert.deepEqual(ada, { id: 1, name: 'Ada' })
await db.transaction(async (transaction) => {
  await transaction('posts').insert(['a secret title', 'another'].map((title) => ({ title, author_id: ada.id })))
})
await assert.rejects(
  db.transaction(async (transaction) => {
    assert.equal(await transaction('posts').delete(), 2)
    throw new Error('changed my mind')
  }),
  /changed my mind/,
)
await assert.rejects(db('users').insert({ name: 'Ada' }), { code: 'SQLITE_CONSTRAINT_UNIQUE' })
const joined = await db('posts')
  .join('users', 'users.id', 'posts.author_id')
  .select('name', 'title')
  .orderBy('posts.id')
assert.deepEqual(joined, [
  { name: 'Ada', title: 'a secret title' },
  { name: 'Ada', title: 'another' },
])
await db.schema.alterTable('posts', (table) => table.renameColumn('title', 'heading'))
assert.deepEqual(await db('posts').pluck('heading'), ['a secret title', 'another'])
await db.destroy()
