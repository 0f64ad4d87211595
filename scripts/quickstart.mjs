/** From a fresh clone to an encrypted server with one command: builds, makes a demo master key, starts, says what to try. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBuild } from './build.mjs'
import { root, stage, StageFailure } from './stage.mjs'

const folder = join(root, '.quickstart')
const keyFile = join(folder, 'master.key')
const dataDir = join(folder, 'data')
const tokenFile = join(folder, 'auth/token')

const port = readPort()
const build = await startBuild({ forChecks: false, products: ['addon', 'typescript'] })
if (build === undefined || !(await build.addon) || !(await build.typescript)) process.exit(1)
if (!(await stage('master key', makeMasterKey))) process.exit(1)
startServer()

function readPort() {
  try {
    return parseArgs({ options: { port: { type: 'string', default: '8080' } } }).values.port
  } catch (error) {
    console.error(
      `${error instanceof Error ? error.message : String(error)}\nUsage: npm run quickstart -- [--port 8080]`,
    )
    process.exit(2)
  }
}

/** The key lies outside the data directory, where a copy of the data does not carry it along; it is never overwritten. */
function makeMasterKey() {
  if (existsSync(keyFile)) return `${keyFile}, from an earlier start`
  if (existsSync(dataDir) && readdirSync(dataDir).some((name) => name.endsWith('.nimbus-enc'))) {
    throw new StageFailure(
      `${dataDir} is encrypted under a key that is gone.\nPut it back at ${keyFile}, or remove ${folder}.`,
    )
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(keyFile, randomBytes(32), { flag: 'wx', mode: 0o400 })
  return `${keyFile}, 32 random bytes, mode 0400`
}

/** Starts the server in a process group of its own, so that Ctrl-C reaches it once, from here. */
function startServer() {
  const main = join(root, 'dist/cli/main.js')
  const encryption = ['--encryption-key-provider', 'master-key-file', '--encryption-master-key-file', keyFile]
  const places = ['--data-dir', dataDir, '--auth-token-file', tokenFile, '--port', port]
  const server = spawn(process.execPath, [main, 'start', ...encryption, ...places], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  let printed = ''
  let explained = false
  server.stdout.on('data', (chunk) => {
    process.stdout.write(chunk)
    if (explained) return
    printed += String(chunk)
    const url = /^nimbus listening on (\S+)$/m.exec(printed)?.[1]
    if (url === undefined) return
    explained = true
    explain(url)
  })
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
    let forwarded = false
    process.on(signal, () => {
      if (!forwarded) server.kill(signal)
      forwarded = true
    })
  }
  server.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)))
}

/** @param {string} url */
function explain(url) {
  const request = `-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json'`
  console.log(`
  URL           ${url}
  admin token   ${tokenFile}
  master key    ${keyFile}
  data          ${dataDir}, encrypted

  Try it in another terminal:

TOKEN=$(node -p 'JSON.parse(fs.readFileSync("${tokenFile}")).token')
curl -sSw "\\n" ${url}/api/tenants ${request} -d '{"id":"acme"}'
curl -sSw "\\n" ${url}/api/tenants/acme/documents ${request} -d '{"table":"notes","fields":{"title":"hello"}}'
head -c 64 '${join(dataDir, 'acme.sqlite3')}' | od -c

  Ctrl-C stops the server; the same command starts it again on the same data.
`)
}
