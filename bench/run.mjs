/** `npm run bench [-- [--tenant-provider redb] [--large] name...]`: builds, installs the peers, runs the benchmarks, prints their tables, keeps them as JSON. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startBuild } from '../scripts/build.mjs'
import { stage } from '../scripts/stage.mjs'
import { durableAppendMs } from './harness/disk.mjs'
import { installPeers } from './harness/peers.mjs'
import { milliseconds, printTables } from './harness/tables.mjs'

/** Each module exports `run(options)`, which answers with `{ figures, tables }`: everything measured, and what is printed of it. */
const benchmarks = {
  aead: () => import('./aead/run.mjs'),
  redb: () => import('./redb/run.mjs'),
  'group-commit': () => import('./server/group-commit.mjs'),
  encryption: () => import('./server/encryption.mjs'),
  'point-read': () => import('./server/point-read.mjs'),
  growth: () => import('./server/growth.mjs'),
  'cold-start': () => import('./cli/cold-start.mjs'),
  'rotate-kek': () => import('./encryption-commands/rotate-kek.mjs'),
  migrate: () => import('./encryption-commands/migrate.mjs'),
  rekey: () => import('./encryption-commands/rekey.mjs'),
  verify: () => import('./encryption-commands/verify.mjs'),
  'command-memory': () => import('./encryption-commands/memory.mjs'),
  kv: () => import('./kv/run.mjs'),
  library: () => import('./library/run.mjs'),
}

const { values, positionals } = parseArgs({
  options: { 'tenant-provider': { type: 'string', default: 'sqlite' }, large: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const tenantProvider = values['tenant-provider']
const names = positionals.length > 0 ? positionals : Object.keys(benchmarks)
const onlyOnSqlite = names.filter((name) => !['group-commit', 'point-read'].includes(name))
if (tenantProvider !== 'sqlite' && onlyOnSqlite.length > 0) {
  console.error(`These are measured on sqlite only: ${onlyOnSqlite.join(', ')}.`)
  process.exit(2)
}
const unknown = names.filter((name) => !(name in benchmarks))
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(', ')}; there are: ${Object.keys(benchmarks).join(', ')}.`)
  process.exit(2)
}

const build = await startBuild({ forChecks: false, products: ['addon', 'typescript'] })
if (build === undefined || !(await build.addon) || !(await build.typescript)) process.exit(1)
if (!(await stage('peers', installPeers))) process.exit(1)

const results = fileURLToPath(new URL('results/', import.meta.url))
mkdirSync(results, { recursive: true })
const machine = {
  cpus: availableParallelism(),
  arch: process.arch,
  platform: process.platform,
  node: process.versions.node,
}
for (const name of names) {
  const appendMs = durableAppendMs(results)
  console.log(`\n${name}, on a disk where an append is durable after ${milliseconds(appendMs)} ...`)
  const { run } = await benchmarks[name]()
  const { figures, tables } = await run({ tenantProvider, large: values.large })
  writeFileSync(
    `${results}${name}.json`,
    `${JSON.stringify({ name, tenantProvider, machine: { ...machine, durableAppendMs: appendMs }, figures }, null, 2)}\n`,
  )
  printTables(tables)
}
