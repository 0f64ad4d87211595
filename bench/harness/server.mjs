/** Starts servers in processes of their own, nimbus and its peers alike, each in a folder that is removed at the end. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Connection } from './connection.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
// Beside the results and not in the temporary folder, which is often in memory, where an fsync costs nothing.
const work = join(root, 'bench/results')

/**
 * @typedef {object} Server
 * @property {string} url
 * @property {string | undefined} token
 * @property {() => Promise<void>} stop
 */

/**
 * `nimbus start`, or with `main` another script that takes the same arguments.
 *
 * @param {{ encrypted: boolean, tenantProvider?: string, main?: string }} options
 * @returns {Promise<Server>}
 */
export async function startNimbus({ encrypted, tenantProvider = 'sqlite', main = join(root, 'dist/cli/main.js') }) {
  const folder = makeFolder()
  const keyFile = join(folder, 'master.key')
  const tokenFile = join(folder, 'auth/token')
  writeFileSync(keyFile, randomBytes(32), { mode: 0o400 })
  const encryption = ['--encryption-key-provider', 'master-key-file', '--encryption-master-key-file', keyFile]
  const places = ['--data-dir', join(folder, 'data'), '--auth-token-file', tokenFile, '--port', '0']
  const provider = ['--tenant-provider', tenantProvider]
  const server = await startScript([main, 'start', ...places, ...provider, ...(encrypted ? encryption : [])], folder)
  return { ...server, token: JSON.parse(readFileSync(tokenFile, 'utf8')).token }
}

/**
 * A peer: a script that prints `... listening on <url>`; its only argument is a folder for its files.
 *
 * @param {string} script beside the benchmark that uses it
 * @returns {Promise<Server>}
 */
export function startPeer(script) {
  const folder = makeFolder()
  return startScript([script, folder], folder)
}

function makeFolder() {
  mkdirSync(work, { recursive: true })
  return mkdtempSync(join(work, 'run-'))
}

async function startScript(args, folder) {
  // The log goes straight to a file, as in production: through a pipe the measuring process would have to copy every line of it.
  const log = openSync(join(folder, 'stderr.log'), 'w')
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', log] })
  closeSync(log)
  const ended = new Promise((resolve) => child.once('close', resolve))
  const url = await new Promise((resolve, reject) => {
    let printed = ''
    child.stdout.on('data', (chunk) => {
      printed += chunk
      const found = /listening on (\S+)/.exec(printed)?.[1]
      if (found !== undefined) resolve(found)
    })
    void ended.then((code) => reject(new Error(`${args.join(' ')} ended with ${code}, see ${folder}/stderr.log`)))
  })
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  return { url, token: undefined, stop }
}

/** @param {Server} server @param {string} id */
export async function createTenant({ url, token }, id) {
  const connection = await Connection.open(url)
  await connection.json({ url, token, method: 'POST', path: '/api/tenants', body: { id } })
  connection.close()
}

/** What `/metrics` says since it was last asked. @param {Server} server @returns {Promise<string>} */
export async function readMetrics({ url, token }) {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })
  return answer.text()
}
