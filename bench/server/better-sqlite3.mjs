/** A peer without encryption: Fastify and better-sqlite3, which commits in the handler, one request at a time. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fastify from 'fastify'

const database = new Database(join(process.argv[2], 'notes.sqlite3'))
// What nimbus runs its tenants with: a commit is on the disk when it returns.
database.pragma('journal_mode = WAL')
database.pragma('synchronous = FULL')
database.exec(
  'CREATE TABLE notes (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, fields TEXT NOT NULL) WITHOUT ROWID',
)
const insert = database.prepare('INSERT INTO notes (id, created_at, fields) VALUES (?, ?, ?)')

const app = fastify()
app.post('/documents', (request, reply) => {
  const { table, fields } = request.body
  const id = randomUUID()
  const now = Date.now()
  insert.run(id, now, JSON.stringify(fields))
  const time = new Date(now).toISOString()
  reply.code(201).send({ id, table, version: 1, created_at: time, updated_at: time, fields })
})
await app.listen({ host: '127.0.0.1', port: 0 })
console.log(`listening on http://127.0.0.1:${app.server.address().port}`)
process.once('SIGTERM', async () => {
  await app.close()
  database.close()
})
