/** A process of clients: each has a connection and sends the same request as soon as the previous one is answered. */
import { spawn } from 'node:child_process'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { Connection, requestBytes } from './connection.mjs'
import { quantile } from './statistics.mjs'

const self = fileURLToPath(import.meta.url)

/**
 * @typedef {{ url: string, token?: string, method: string, path: string, body?: unknown, clients: number, seconds: number }} Load
 * @typedef {{ perSecond: number, p50Ms: number, p99Ms: number }} Throughput
 * @param {Load} load
 * @returns {Promise<Throughput>} from a process of its own
 */
export function applyLoad(load) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [self, JSON.stringify(load)], { stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.on('data', (chunk) => (printed += chunk))
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(printed)) : reject(new Error(`the clients ended with ${code}`)),
    )
  })
}

/** @param {Load} load */
async function generate({ clients, seconds, ...request }) {
  const bytes = requestBytes(request)
  const connections = await Promise.all(Array.from({ length: clients }, () => Connection.open(request.url)))
  const latencies = []
  let until = Infinity
  const client = async (connection) => {
    while (performance.now() < until) {
      const sentAt = performance.now()
      await connection.send(bytes)
      latencies.push(performance.now() - sentAt)
    }
  }
  // The first half second warms caches and compilers on both sides and is not counted.
  until = performance.now() + 500
  await Promise.all(connections.map(client))
  latencies.length = 0
  const startedAt = performance.now()
  until = startedAt + seconds * 1000
  await Promise.all(connections.map(client))
  const elapsed = (performance.now() - startedAt) / 1000
  for (const connection of connections) connection.close()
  return { perSecond: latencies.length / elapsed, p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) }
}

if (argv[1] === self) console.log(JSON.stringify(await generate(JSON.parse(argv[2]))))
