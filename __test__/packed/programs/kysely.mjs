import assert from 'node:assert/strict'
import { Kysely, SqliteDialect, sql } from 'kysely'
import { EncryptedDatabase, file } from './encrypted.mjs'

const db = new Kysely({ dialect: new SqliteDialect({ database: new EncryptedDatabase(file) }) })
await db.schema
  .createTable('users')
  .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
  .addColumn('name', 'text', (column) => column.notNull().unique())
  .execute()
await db.schema
  .createTable('posts')
  .addColumn('id', 'integer', (column) => column.primaryKey())
  .addColumn('title', 'text', (column) => column.notNull())
  .addColumn('author_id', 'integer', (column) => column.references('users.id'))
  .execute()

const ada = await db.insertInto('users').values({ name: 'Ada' }).returningAll().executeTakeFirstOrThrow()
assert.deepEqual(ada, { id: 1, name: 'Ada' })
await db.transaction().execute(async (transaction) => {
  const result = await transaction
    .insertInto('posts')
    .values([
      { title: 'a secret title', author_id: ada.id },
      { title: 'another', author_id: ada.id },
    ])
    .executeTakeFirstOrThrow()
  assert.equal(result.numInsertedOrUpdatedRows, 2n)
})
await assert.rejects(
  db.transaction().execute(async (transaction) => {
    await transaction.deleteFrom('posts').execute()
    throw new Error('changed my mind')
  }),
  /changed my mind/,
)
await assert.rejects(db.insertInto('users').values({ name: 'Ada' }).execute(), { code: 'SQLITE_CONSTRAINT_UNIQUE' })

const joined = await db
  .selectFrom('posts')
  .innerJoin('users', 'users.id', 'posts.author_id')
  .select(['users.name', 'posts.title'])
  .orderBy('posts.id')
  .execute()
assert.deepEqual(joined, [
  { name: 'Ada', title: 'a secret title' },
  { name: 'Ada', title: 'another' },
])
const titles = []
for await (const { title } of db.selectFrom('posts').select('title').stream()) titles.push(title)
assert.deepEqual(titles, ['a secret title', 'another'])
const { rows } = await sql`SELECT count(*) AS posts FROM posts`.execute(db)
assert.deepEqual(rows, [{ posts: 2 }])
assert.deepEqual((await db.introspection.getTables()).map(({ name }) => name).sort(), ['posts', 'users'])
await db.destroy()
