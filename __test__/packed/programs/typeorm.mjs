import assert from 'node:assert/strict'
import { DataSource, EntitySchema } from 'typeorm'
import { EncryptedDatabase, file } from './encrypted.mjs'

const User = new EntitySchema({
  name: 'User',
  columns: { id: { type: Number, primary: true, generated: true }, name: { type: String, unique: true } },
  relations: { posts: { type: 'one-to-many', target: 'Post', inverseSide: 'author' } },
})
const Post = new EntitySchema({
  name: 'Post',
  columns: { id: { type: Number, primary: true, generated: true }, title: { type: String } },
  relations: { author: { type: 'many-to-one', target: 'User', inverseSide: 'posts' } },
})

const source = new DataSource({
  type: 'better-sqlite3',
  database: file,
  driver: EncryptedDatabase,
  entities: [User, Post],
  synchronize: true,
})
await source.initialize()
const ada = await source.getRepository(User).save({ name: 'Ada' })
await source.transaction(async (manager) => {
  await manager.getRepository(Post).save(['a secret title', 'another'].map((title) => ({ title, author: ada })))
})
await assert.rejects(
  source.transaction(async (manager) => {
    await manager.getRepository(Post).clear()
    throw new Error('changed my mind')
  }),
  /changed my mind/,
)
await assert.rejects(source.getRepository(User).insert({ name: 'Ada' }), /UNIQUE constraint failed/)
const found = await source.getRepository(User).findOne({ where: { name: 'Ada' }, relations: { posts: true } })
assert.deepEqual(
  found.posts.map(({ title }) => title),
  ['a secret title', 'another'],
)
const count = await source
  .getRepository(Post)
  .createQueryBuilder('post')
  .where('post.title = :t', { t: 'another' })
  .getCount()
assert.equal(count, 1)
await source.destroy()
