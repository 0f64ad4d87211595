/** How much longer `nimbus encryption status` takes than starting Node does, process against process. */
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createTenant, startNimbus } from '../harness/server.mjs'
import { interleave, median } from '../harness/statistics.mjs'
import { milliseconds } from '../harness/tables.mjs'

const rounds = 25
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export async function run() {
  const server = await startNimbus({ encrypted: true })
  await createTenant(server, 'cold')
  const env = await environmentOf(server)
  const results = await interleave(rounds, {
    status: () => durationOf([main, 'encryption', 'status'], env),
    node: () => durationOf(['-e', '0'], env),
  })
  await server.stop()
  const above = median(results.status.map((value, round) => value - results.node[round]))
  return {
    figures: { ...results, above },
    tables: [
      {
        title: `From start to end of a process (${rounds} rounds)`,
        columns: ['command', 'median'],
        rows: [
          ['nimbus encryption status', milliseconds(median(results.status))],
          ['node -e 0', milliseconds(median(results.node))],
          ['difference', milliseconds(above)],
        ],
      },
    ],
  }
}

/** The commands are told by variables what the server was told by flags. */
async function environmentOf({ url, token }) {
  const answer = await fetch(`${url}/debug/encryption/status`, { headers: { authorization: `Bearer ${token}` } })
  const { descriptor, files } = await answer.json()
  return {
    NIMBUS_DATA_DIR: dirname(files[0].path),
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
    NIMBUS_ENCRYPTION_MASTER_KEY_FILE: descriptor.path,
  }
}

async function durationOf(args, env) {
  const startedAt = performance.now()
  const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}: ${stderr}`)
  return performance.now() - startedAt
}
