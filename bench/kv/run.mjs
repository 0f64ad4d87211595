/** The key-value store beside lmdb-js and LevelDB: 100,000 rows of 16-byte keys and 100-byte values, a process for each trial. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { ratio, whole } from '../harness/tables.mjs'
import { stores } from './stores.mjs'

const rounds = 5
const trial = fileURLToPath(new URL('trial.mjs', import.meta.url))
// Beside the results and not in the temporary folder, which is often in memory, where an fsync costs nothing.
const work = fileURLToPath(new URL('../results', import.meta.url))
const operations = {
  get: 'gets, random',
  put: 'puts, 1,000 to a durable transaction',
  range: 'pairs of ranges of 1,000',
}
const names = Object.keys(stores)

export async function run() {
  const results = await interleave(rounds, Object.fromEntries(names.map((name) => [name, async () => measure(name)])))
  const rates = (name, operation) => results[name].map((result) => result[operation])
  const over = (name, operation) => ratio(medianRatio(rates(names[0], operation), rates(name, operation)))
  return {
    figures: results,
    tables: Object.entries(operations).map(([operation, title]) => ({
      title: `${title} (${rounds} rounds)`,
      columns: ['store', 'per second', 'nimbus, sealed, is'],
      rows: names.map((name) => [name, whole(median(rates(name, operation))), over(name, operation)]),
    })),
  }
}

function measure(name) {
  mkdirSync(work, { recursive: true })
  const folder = mkdtempSync(join(work, 'kv-'))
  try {
    const { status, stdout, stderr } = spawnSync(process.execPath, [trial, name, folder], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`the trial of ${name} ended with ${status}: ${stderr}`)
    return JSON.parse(stdout)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
