import assert from 'node:assert/strict'
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3'
import { EncryptedDatabase, file, key, schema } from './encrypted.mjs'
import { PrismaClient } from './generated/client.ts'

new EncryptedDatabase(file).exec(schema).close()
// What else the adapter is given it passes on to the database.
const prisma = new PrismaClient({ adapter: new PrismaBetterSqlite3({ url: `file:${file}`, key } as { url: string }) })

const ada = await prisma.user.create({
  data: { name: 'Ada', posts: { create: [{ title: 'a secret title' }, { title: 'another' }] } },
  include: { posts: { orderBy: { id: 'asc' } } },
})
assert.deepEqual(
  ada.posts.map(({ title }) => title),
  ['a secret title', 'another'],
)
await assert.rejects(
  prisma.$transaction(async (transaction) => {
    assert.equal((await transaction.post.deleteMany()).count, 2)
    throw new Error('changed my mind')
  }),
  /changed my mind/,
)
await assert.rejects(prisma.user.create({ data: { name: 'Ada' } }), { code: 'P2002' })
assert.equal(await prisma.post.count({ where: { author: { name: 'Ada' }, title: { contains: 'secret' } } }), 1)
assert.deepEqual(await prisma.$queryRaw`SELECT name FROM users`, [{ name: 'Ada' }])
await prisma.$disconnect()
