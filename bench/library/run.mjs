/** The embedded library beside its peers: a process for each trial, the peers in turns, medians. A peer that cannot be loaded is left out and named. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { least, median } from '../harness/statistics.mjs'
import { ratio, whole } from '../harness/tables.mjs'
import { peers } from './peers.mjs'

const trial = fileURLToPath(new URL('trial.mjs', import.meta.url))
const rounds = Number(process.env.NIMBUS_BENCH_ROUNDS ?? 5)
const measurements = [
  'get',
  'get in a transaction',
  'all 100, per row',
  'all 10,000, per row',
  'iterate, per row',
  'run in a transaction',
  'insert 1,000 in a transaction, per row',
  'open and first read',
  'get, uniformly over 130 MB',
  'first scan of 130 MB, per row',
]

export async function run() {
  const directory = mkdtempSync(join(tmpdir(), 'nimbus-bench-'))
  try {
    const missing = []
    const present = Object.keys(peers).filter((peer) => {
      const { status, stderr, error } = child(peer, 'fill', directory)
      if (status !== 0) missing.push([peer, error?.message ?? stderr.trim().split('\n').at(-1)])
      return status === 0
    })
    for (const [peer, why] of missing) console.log(`    without ${peer}: ${why}`)
    const figures = Object.fromEntries(present.map((peer) => [peer, {}]))
    for (const measurement of measurements) {
      for (let round = 0; round < rounds; round += 1) {
        for (const peer of present) {
          const { status, stdout, stderr } = child(peer, measurement, directory)
          if (status !== 0) throw new Error(`${measurement} of ${peer}: ${stderr}`)
          ;(figures[peer][measurement] ??= []).push(JSON.parse(stdout))
        }
      }
    }
    return {
      figures,
      tables: [median, least].flatMap((of) => [times(figures, present, of), ratios(figures, present, of)]),
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const child = (peer, measurement, directory) =>
  spawnSync(peers[peer].node ?? process.execPath, [trial, peer, measurement, directory], { encoding: 'utf8' })

const names = new Map([
  [median, 'median'],
  [least, 'least'],
])

const figureOf = (figures, peer, measurement, of) => {
  const values = figures[peer]?.[measurement]?.filter((value) => value !== null) ?? []
  return values.length === 0 ? undefined : of(values)
}

function times(figures, present, of) {
  return {
    title: `Nanoseconds for each operation, ${names.get(of)} of ${rounds} processes`,
    columns: ['', ...measurements],
    rows: present.map((peer) => [
      peer,
      ...measurements.map((measurement) => {
        const value = figureOf(figures, peer, measurement, of)
        return value === undefined ? '-' : whole(value)
      }),
    ]),
  }
}

/** How many times as fast as the fastest of the others that does the same: opened the same way, and authenticating what is encrypted. */
function ratios(figures, present, of) {
  const isOurs = (peer) => peer.startsWith('nimbus')
  const others = (ours) =>
    present.filter((peer) => {
      const { encrypted, exclusive, isUnauthenticated } = peers[peer]
      return !isOurs(peer) && !isUnauthenticated && encrypted === ours.encrypted && exclusive === ours.exclusive
    })
  return {
    title: `Times as fast as the fastest peer that is opened the same way, shared or exclusive, by the ${names.get(of)}`,
    columns: ['', ...measurements],
    rows: present.filter(isOurs).map((peer) => [
      peer,
      ...measurements.map((measurement) => {
        const ours = figureOf(figures, peer, measurement, of)
        const best = others(peers[peer])
          .map((other) => figureOf(figures, other, measurement, of))
          .filter((value) => value !== undefined)
        return ours === undefined || best.length === 0 ? '-' : ratio(Math.min(...best) / ours)
      }),
    ]),
  }
}
