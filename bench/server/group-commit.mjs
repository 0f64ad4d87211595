/** 64 clients insert durably into one tenant: with group commit, with one commit per request, and beside a peer. */
import { fileURLToPath } from 'node:url'
import { document } from '../harness/document.mjs'
import { applyLoad } from '../harness/load.mjs'
import { createTenant, readMetrics, startNimbus, startPeer } from '../harness/server.mjs'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio, whole } from '../harness/tables.mjs'

const rounds = 7
const load = { method: 'POST', body: document(), clients: 64, seconds: 4 }
const beside = (name) => fileURLToPath(new URL(name, import.meta.url))

export async function run() {
  const grouped = await startNimbus({ encrypted: true })
  const single = await startNimbus({ encrypted: true, main: beside('one-commit-per-request.mjs') })
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
    async single(round) {
      await createTenant(single, `round-${round}`)
      return applyLoad({ ...load, ...single, path: `/api/tenants/round-${round}/documents` })
    },
    peer: () => applyLoad({ ...load, ...peer, path: '/documents' }),
  })
  await Promise.all([grouped.stop(), single.stop(), peer.stop()])
  const rate = (name) => results[name].map(({ perSecond }) => perSecond)
  const row = (label, name) => [
    label,
    whole(median(rate(name))),
    ratio(medianRatio(rate(name), rate('single'))),
    milliseconds(median(results[name].map(({ p50Ms }) => p50Ms))),
    milliseconds(median(results[name].map(({ p99Ms }) => p99Ms))),
  ]
  return {
    figures: { ...results, eventLoopDelaysMs, ratio: medianRatio(rate('grouped'), rate('single')) },
    tables: [
      {
        title: `Durable inserts of 300-byte documents by 64 clients (${rounds} rounds of ${load.seconds} s)`,
        columns: ['server', 'inserts per second', 'ratio', 'latency p50', 'latency p99'],
        rows: [
          row('nimbus, encrypted, group commit', 'grouped'),
          row('nimbus, encrypted, one commit per request', 'single'),
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
