import assert from 'node:assert/strict'
import { eq, relations } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { EncryptedDatabase, file, schema as tables } from './encrypted.mjs'

const users = sqliteTable('users', { id: integer().primaryKey({ autoIncrement: true }), name: text().notNull() })
const posts = sqliteTable('posts', {
  id: integer().primaryKey({ autoIncrement: true }),
  title: text().notNull(),
  authorId: integer('author_id').notNull(),
})
const usersRelations = relations(users, ({ many }) => ({ posts: many(posts) }))
const postsRelations = relations(posts, ({ one }) => ({
  author: one(users, { fields: [posts.authorId], references: [users.id] }),
}))

const client = new EncryptedDatabase(file)
client.exec(tables)
const db = drizzle({ client, schema: { users, posts, usersRelations, postsRelations } })

const ada = db.insert(users).values({ name: 'Ada' }).returning().get()
assert.deepEqual(ada, { id: 1, name: 'Ada' })
db.transaction((transaction) => {
  const values = ['a secret title', 'another'].map((title) => ({ title, authorId: ada.id }))
  assert.equal(transaction.insert(posts).values(values).run().changes, 2)
})
assert.throws(
  () =>
    db.transaction((transaction) => {
      transaction.delete(posts).run()
      throw new Error('changed my mind')
    }),
  /changed my mind/,
)
assert.throws(
  () => db.insert(users).values({ name: 'Ada' }).run(),
  (error) => (error.cause ?? error).code === 'SQLITE_CONSTRAINT_UNIQUE',
)
assert.deepEqual(db.select({ title: posts.title }).from(posts).where(eq(posts.id, 2)).all(), [{ title: 'another' }])
const found = await db.query.users.findFirst({ with: { posts: { columns: { title: true } } } })
assert.deepEqual(found, { id: 1, name: 'Ada', posts: [{ title: 'a secret title' }, { title: 'another' }] })
const prepared = db.select().from(users).where(eq(users.id, 1)).prepare()
assert.deepEqual(prepared.get(), { id: 1, name: 'Ada' })
client.close()
