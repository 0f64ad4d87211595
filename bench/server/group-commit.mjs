/**
 * 64 clients insert durably into one tenant: with group commit, with one commit per request (of redb: on SQLite with group
 * commit), and beside a peer.
 */
import { fileURLToPath } from 'node:url'
import { document } from '../harness/document.mjs'
import { applyLoad } from '../harness/load.mjs'
import { createTenant, readMetrics, startNimbus, startPeer } from '../harness/server.mjs'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio, whole } from '../harness/tables.mjs'

const rounds = 7
const load = { method: 'POST', body: document(), clients: 64, seconds: 4 }
const beside = (name) => fileURLToPath(new URL(name, import.meta.url))

export async function run({ tenantProvider }) {
  const isSqlite = tenantProvider === 'sqlite'
  const grouped = await startNimbus({ encrypted: true, tenantProvider })
  const other = await startNimbus({
    encrypted: true,
    ...(isSqlite ? { main: beside('one-commit-per-request.mjs') } : {}),
  })
  const peer = await startPeer(beside('better-sqlite3.mjs'))
  const eventLoopDelaysMs = []
  const results = await interleave(rounds, {
    async grouped(round) {
      await createTenant(grouped, `round-${round}`)
      await readMetrics(grouped)
      const throughput = await applyLoad({ ...load, ...grouped, path: `/api/tenants/round-${round}/documents` })
      eventLoopDelaysMs.push(eventLoopDelayP99(await readMetrics(grouped)))
      return throughput
    },
    async other(round) {
      await createTenant(other, `round-${round}`)
      return applyLoad({ ...load, ...other, path: `/api/tenants/round-${round}/documents` })
    },
    peer: () => applyLoad({ ...load, ...peer, path: '/documents' }),
  })
  await Promise.all([grouped.stop(), other.stop(), peer.stop()])
  const rate = (name) => results[name].map(({ perSecond }) => perSecond)
  const row = (label, name) => [
    label,
    whole(median(rate(name))),
    ratio(medianRatio(rate(name), rate('other'))),
    milliseconds(median(results[name].map(({ p50Ms }) => p50Ms))),
    milliseconds(median(results[name].map(({ p99Ms }) => p99Ms))),
  ]
  return {
    figures: { ...results, eventLoopDelaysMs, ratio: medianRatio(rate('grouped'), rate('other')) },
    tables: [
      {
        title: `Durable inserts of 300-byte documents by 64 clients (${rounds} rounds of ${load.seconds} s)`,
        columns: ['server', 'inserts per second', 'ratio', 'latency p50', 'latency p99'],
        rows: [
          row(`nimbus on ${tenantProvider}, encrypted, group commit`, 'grouped'),
          row(`nimbus on sqlite, encrypted, ${isSqlite ? 'one commit per request' : 'group commit'}`, 'other'),
          row('Fastify and better-sqlite3, plain', 'peer'),
        ],
      },
      {
        title: 'Event loop of nimbus meanwhile',
        columns: ['delay p99, median of the rounds', 'worst round'],
        rows: [[milliseconds(median(eventLoopDelaysMs)), milliseconds(Math.max(...eventLoopDelaysMs))]],
      },
    ],
  }
}

function eventLoopDelayP99(metrics) {
  const seconds = /^nimbus_event_loop_delay_seconds\{quantile="0.99"\} (\S+)$/m.exec(metrics)?.[1]
  if (seconds === undefined) throw new Error('/metrics has no event-loop delay')
  return Number(seconds) * 1000
}
