/** `verify` beside what bounds it: reading the file from the disk, and the MAC of as many bytes by OpenSSL on one processor. */
import { rmSync, statSync } from 'node:fs'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio } from '../harness/tables.mjs'
import { durationOf, makeRedb, makeSqlite, withWorkspace } from './workspace.mjs'

const rounds = 5
const mebibytes = 256
/** OpenSSL's command has no AES-256-GCM-SIV, so redb has one peer only; `npm run bench -- aead` measures that cipher. */
const files = [
  { kind: 'sqlite', make: makeSqlite, profile: 'sqlcipher-4-sha256', mac: 'sha256' },
  { kind: 'sqlite', make: makeSqlite, profile: 'sqlcipher-4', mac: 'sha512' },
  { kind: 'redb', make: makeRedb, profile: 'sealed-redb-1', mac: undefined },
]

export async function run() {
  const figures = {}
  const tables = []
  for (const { kind, make, profile, mac } of files) {
    await withWorkspace(async (workspace) => {
      const source = `${workspace.data}/plain.db`
      await make(source, mebibytes)
      const subject = ['--provider', kind, '--tenant-id', 'bench', '--profile', profile]
      workspace.encryption(['migrate', '--source', source, ...subject, '--skip-validation'])
      rmSync(source)
      const file = `${source}.encrypted`
      const megabytes = Math.round(statSync(file).size / 1e6)
      const verify = () => workspace.encryption(['verify', '--path', file]).ms
      const results = await interleave(rounds, {
        'cat, from the disk': async () => afterForgetting(file, () => durationOf('cat', [file], toNowhere)),
        ...(mac && { [`openssl dgst -${mac} -hmac, from memory`]: async () => macOf(file, mac) }),
        'verify, from the disk': async () => afterForgetting(file, verify),
        'verify, from memory': async () => afterReading(file, verify),
      })
      const ours = results['verify, from the disk']
      const slowest = ours.map((_, round) =>
        Math.max(...Object.entries(results).map(([how, ms]) => (how.startsWith('verify') ? 0 : ms[round]))),
      )
      figures[profile] = { megabytes, ...results, ofSlowest: medianRatio(slowest, ours) }
      tables.push({
        title: `${megabytes} MB of ${profile} (${rounds} rounds)${mac ? `; verify from the disk is ${ratio(figures[profile].ofSlowest)} as fast as the slower of its peers` : ''}`,
        columns: ['how', 'median'],
        rows: Object.entries(results).map(([how, ms]) => [how, milliseconds(median(ms))]),
      })
    })
  }
  return { figures, tables }
}

const toNowhere = { stdio: ['ignore', 'ignore', 'pipe'] }

function macOf(file, mac) {
  return afterReading(file, () => durationOf('openssl', ['dgst', `-${mac}`, '-hmac', 'key', file]))
}

function afterReading(file, measure) {
  durationOf('cat', [file], toNowhere)
  return measure()
}

/** dd(1), "nocache": the system forgets what it has of a file that is on the disk. */
function afterForgetting(file, measure) {
  durationOf('sync', [file])
  durationOf('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'])
  return measure()
}
