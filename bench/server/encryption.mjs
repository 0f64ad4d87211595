/** What encryption costs: the same durable inserts and the same point reads, with encryption and without. */
import { Connection } from '../harness/connection.mjs'
import { document } from '../harness/document.mjs'
import { applyLoad } from '../harness/load.mjs'
import { createTenant, startNimbus } from '../harness/server.mjs'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { ratio, whole } from '../harness/tables.mjs'

const rounds = 15
const clients = 64
const seconds = 2

export async function run() {
  const encrypted = await startNimbus({ encrypted: true })
  const plain = await startNimbus({ encrypted: false })
  const inserts = await interleave(rounds, {
    encrypted: (round) => insert(encrypted, `round-${round}`),
    plain: (round) => insert(plain, `round-${round}`),
  })
  const paths = { encrypted: await insertOne(encrypted, 'round-0'), plain: await insertOne(plain, 'round-0') }
  const reads = await interleave(rounds, {
    encrypted: () => read(encrypted, paths.encrypted),
    plain: () => read(plain, paths.plain),
  })
  await Promise.all([encrypted.stop(), plain.stop()])
  return {
    figures: { inserts, reads, insertRatio: ratioOf(inserts), readRatio: ratioOf(reads) },
    tables: [
      {
        title: `Encrypted beside plain, 64 clients (${rounds} rounds of ${seconds} s)`,
        columns: ['requests per second', 'encrypted', 'plain', 'ratio'],
        rows: [row('durable inserts', inserts), row('point reads', reads)],
      },
    ],
  }
}

async function insert(server, tenant) {
  await createTenant(server, tenant)
  return applyLoad({
    ...server,
    method: 'POST',
    path: `/api/tenants/${tenant}/documents`,
    body: document(),
    clients,
    seconds,
  })
}

async function insertOne({ url, token }, tenant) {
  const connection = await Connection.open(url)
  const path = `/api/tenants/${tenant}/documents`
  const { id } = await connection.json({ url, token, method: 'POST', path, body: document() })
  connection.close()
  return `${path}/notes/${id}`
}

const read = (server, path) => applyLoad({ ...server, method: 'GET', path, clients, seconds })
const rates = (results) => results.map(({ perSecond }) => perSecond)
const ratioOf = ({ encrypted, plain }) => medianRatio(rates(encrypted), rates(plain))

function row(label, results) {
  return [label, whole(median(rates(results.encrypted))), whole(median(rates(results.plain))), ratio(ratioOf(results))]
}
