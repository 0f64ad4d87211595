/** One tenant grows to a million documents: what an indexed query and a point read cost on the way. */
import { Connection, requestBytes } from '../harness/connection.mjs'
import { document } from '../harness/document.mjs'
import { createTenant, startNimbus } from '../harness/server.mjs'
import { quantile } from '../harness/statistics.mjs'
import { microseconds, whole } from '../harness/tables.mjs'

const sizes = [10_000, 100_000, 1_000_000]
const queries = 3000
/** Documents that share a value of the second index, and are the answer to a query on it. */
const groupSize = 10
const perTransaction = 1000
const tenant = '/api/tenants/growth'

const schema = {
  fields: { serial: { type: 'number', required: true }, group: { type: 'number', required: true } },
  indexes: [
    { name: 'by_serial', fields: ['serial'], unique: true },
    { name: 'by_group', fields: ['group'], unique: false },
  ],
}

export async function run() {
  const server = await startNimbus({ encrypted: true })
  await createTenant(server, 'growth')
  const connection = await Connection.open(server.url)
  const send = (request) => connection.json({ ...server, ...request })
  await send({ method: 'PUT', path: `${tenant}/schema/notes`, body: schema })
  const figures = []
  let inserted = 0
  let ids = []
  for (const size of sizes) {
    ids = ids.concat(await insert(send, inserted, size))
    inserted = size
    figures.push({
      documents: size,
      queryOne: await measure(connection, server, () => query('serial', random(size), 1)),
      queryGroup: await measure(connection, server, () => query('group', random(size / groupSize), groupSize)),
      pointRead: await measure(connection, server, () => ({
        path: `${tenant}/documents/notes/${ids[random(ids.length)]}`,
      })),
    })
  }
  connection.close()
  await server.stop()
  return {
    figures,
    tables: [
      {
        title: `One client, random keys, encrypted (p50 and p99 of ${whole(queries)} requests)`,
        columns: ['documents', 'query by index, 1 result', `query by index, ${groupSize} results`, 'read by id'],
        rows: figures.map(({ documents, ...timings }) => [
          whole(documents),
          ...Object.values(timings).map(({ p50, p99 }) => `${microseconds(p50)}, ${microseconds(p99)}`),
        ]),
      },
    ],
  }
}

/** Members of a group lie far apart, so that a query for one touches as many pages as it has results. */
async function insert(send, from, to) {
  const groups = to / groupSize
  const ids = []
  for (let start = from; start < to; start += perTransaction) {
    const operations = Array.from({ length: perTransaction }, (_, index) => {
      const serial = start + index
      return { op: 'insert', ...document({ serial, group: serial % groups }) }
    })
    const { results } = await send({ method: 'POST', path: `${tenant}/transaction`, body: { operations } })
    // Every hundredth id is enough to read at random.
    for (let index = 0; index < results.length; index += 100) ids.push(results[index].document.id)
  }
  return ids
}

function query(field, value, limit) {
  const body = { table: 'notes', filters: [{ field, op: 'eq', value }], limit }
  return { method: 'POST', path: `${tenant}/query`, body }
}

const random = (below) => Math.floor(Math.random() * below)

async function measure(connection, server, request) {
  const values = []
  // The first fifth warms caches and compilers and is not counted.
  for (let index = -queries / 5; index < queries; index++) {
    const bytes = requestBytes({ ...server, ...request() })
    const sentAt = performance.now()
    await connection.send(bytes)
    if (index >= 0) values.push((performance.now() - sentAt) * 1000)
  }
  return { p50: quantile(values, 0.5), p99: quantile(values, 0.99) }
}
