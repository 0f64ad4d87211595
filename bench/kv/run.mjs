/** The key-value store beside lmdb-js and LevelDB: 16-byte keys, values of three sizes, a process for each trial. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { ratio, whole } from '../harness/tables.mjs'
import { stores } from './stores.mjs'

const rounds = 3
/** Bytes of a value, and how many rows of it: 10 to 16 MB of values, which the caches of each store hold. */
const sizes = { 100: 100_000, 1000: 16_000, 10_000: 1600 }
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
  const trials = Object.entries(sizes).flatMap(([valueBytes, rows]) =>
    names.map((name) => ({ title: titleOf(name, valueBytes), name, valueBytes, rows })),
  )
  const results = await interleave(
    rounds,
    Object.fromEntries(trials.map(({ title, ...trial }) => [title, async () => measure(trial)])),
  )
  return { figures: results, tables: Object.keys(sizes).flatMap((valueBytes) => tablesOf(results, valueBytes)) }
}

function tablesOf(results, valueBytes) {
  const rates = (name, operation) => results[titleOf(name, valueBytes)].map((result) => result[operation])
  const over = (name, operation) => ratio(medianRatio(rates(names[0], operation), rates(name, operation)))
  return Object.entries(operations).map(([operation, title]) => ({
    title: `${title}, values of ${valueBytes} bytes (${rounds} rounds)`,
    columns: ['store', 'per second', 'nimbus, sealed, is'],
    rows: names.map((name) => [name, whole(median(rates(name, operation))), over(name, operation)]),
  }))
}

function titleOf(name, valueBytes) {
  return `${name}, ${valueBytes}`
}

function measure({ name, valueBytes, rows }) {
  mkdirSync(work, { recursive: true })
  const folder = mkdtempSync(join(work, 'kv-'))
  try {
    const command = [trial, name, folder, valueBytes, String(rows)]
    const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`the trial of ${name} ended with ${status}: ${stderr}`)
    return JSON.parse(stdout)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
