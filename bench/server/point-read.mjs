/** One client reads documents by id, one request at a time, beside a Fastify route that does nothing. */
import { fileURLToPath } from 'node:url'
import { Connection, requestBytes } from '../harness/connection.mjs'
import { document } from '../harness/document.mjs'
import { createTenant, startNimbus, startPeer } from '../harness/server.mjs'
import { interleave, median, quantile } from '../harness/statistics.mjs'
import { microseconds } from '../harness/tables.mjs'

const rounds = 15
const requestsPerRound = 2000
const documents = 1000

export async function run({ tenantProvider }) {
  const nimbus = await startNimbus({ encrypted: true, tenantProvider })
  const peer = await startPeer(fileURLToPath(new URL('empty-route.mjs', import.meta.url)))
  const reads = await insertDocuments(nimbus)
  const nothing = [requestBytes({ ...peer, path: '/' })]
  const connections = { read: await Connection.open(nimbus.url), empty: await Connection.open(peer.url) }
  await latencies(connections.read, reads)
  await latencies(connections.empty, nothing)
  const results = await interleave(rounds, {
    read: () => latencies(connections.read, reads),
    empty: () => latencies(connections.empty, nothing),
  })
  for (const connection of Object.values(connections)) connection.close()
  await Promise.all([nimbus.stop(), peer.stop()])
  const p50 = (name) => results[name].map((values) => quantile(values, 0.5))
  const p99 = (name) => median(results[name].map((values) => quantile(values, 0.99)))
  const above = median(p50('read').map((value, round) => value - p50('empty')[round]))
  return {
    figures: { read: p50('read'), empty: p50('empty'), above },
    tables: [
      {
        title: `Latency of one client (${rounds} rounds of ${requestsPerRound} requests)`,
        columns: ['route', 'p50', 'p99'],
        rows: [
          [
            `a document by its id, encrypted, ${tenantProvider}`,
            microseconds(median(p50('read'))),
            microseconds(p99('read')),
          ],
          ['an empty Fastify route', microseconds(median(p50('empty'))), microseconds(p99('empty'))],
          ['difference', microseconds(above), ''],
        ],
      },
    ],
  }
}

async function insertDocuments(server) {
  const { url, token } = server
  await createTenant(server, 'reads')
  const connection = await Connection.open(url)
  const requests = []
  for (let index = 0; index < documents; index++) {
    const path = '/api/tenants/reads/documents'
    const { id } = await connection.json({ url, token, method: 'POST', path, body: document() })
    requests.push(requestBytes({ url, token, path: `${path}/notes/${id}` }))
  }
  connection.close()
  return requests
}

/** Microseconds of each request. */
async function latencies(connection, requests) {
  const values = []
  for (let index = 0; index < requestsPerRound; index++) {
    const sentAt = performance.now()
    await connection.send(requests[index % requests.length])
    values.push((performance.now() - sentAt) * 1000)
  }
  return values
}
