/** Runs the built command line as its users do: in a process of its own, with an environment of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { temporaryDirectory, writeIn } from './directory.js'
import { requestJson, type Answer } from './http.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Finished {
  /** null when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Run {
  readonly process: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly finished: Promise<Finished>
}

export type Environment = Readonly<Record<string, string>>

/** Nothing of the environment of the tests reaches the command but PATH and HOME. */
export function spawnNimbus(args: readonly string[], env: Environment = {}, wrapper: readonly string[] = []): Run {
  const [program = process.execPath, ...rest] = [...wrapper, process.execPath, MAIN, ...args]
  const child = spawn(program, rest, {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => (stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (stderr += String(chunk)))
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr })
    })
  })
  onTestFinished(async () => {
    if (child.exitCode === null) child.kill('SIGKILL')
    await finished
  })
  return { process: child, stdout: () => stdout, stderr: () => stderr, finished }
}

export async function runNimbus(args: readonly string[], env: Environment = {}): Promise<Finished> {
  return spawnNimbus(args, env).finished
}

/** Where one server keeps everything, and how it is told so. */
export interface Home {
  readonly root: string
  readonly dataDir: string
  readonly keyFile: string
  readonly tokenFile: string
  /** What `nimbus encryption` commands need. */
  readonly env: Environment
}

export function newHome(): Home {
  const root = temporaryDirectory()
  const dataDir = path.join(root, 'data')
  const keyFile = writeIn(root, 'master.key', randomBytes(32), 0o400)
  const tokenFile = path.join(root, 'auth', 'token')
  const env = {
    NIMBUS_DATA_DIR: dataDir,
    NIMBUS_AUTH_TOKEN_FILE: tokenFile,
    NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
    NIMBUS_ENCRYPTION_MASTER_KEY_FILE: keyFile,
  }
  return { root, dataDir, keyFile, tokenFile, env }
}

/** The same home without encryption. */
export function plainEnv({ dataDir, tokenFile }: Home): Environment {
  return { NIMBUS_DATA_DIR: dataDir, NIMBUS_AUTH_TOKEN_FILE: tokenFile }
}

/** Puts another key into the place of the one that a home has. */
export function replaceKey({ keyFile }: Home, key: Uint8Array): void {
  chmodSync(keyFile, 0o600)
  writeFileSync(keyFile, key)
  chmodSync(keyFile, 0o400)
}

export interface Server extends Run {
  readonly url: string
  readonly token: () => string
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Sends the signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Finished>
}

/** Starts a server and waits until it says that it listens. */
export async function startServer(
  home: Home,
  args: readonly string[] = [],
  env: Environment = home.env,
  wrapper: readonly string[] = [],
): Promise<Server> {
  const run = spawnNimbus(['start', '--port', '0', ...args], env, wrapper)
  const url = await listening(run)
  const token = (): string => readToken(home.tokenFile)
  return {
    ...run,
    url,
    token,
    request: (method, where, body, headers) =>
      requestJson(url + where, headers?.['authorization'] ?? token(), method, body, headers),
    stop: (signal = 'SIGTERM') => {
      run.process.kill(signal)
      return run.finished
    },
  }
}

/** Expects a start that fails. */
export async function failToStart(env: Environment, args: readonly string[] = []): Promise<Finished> {
  return runNimbus(['start', '--port', '0', ...args], env)
}

export function readToken(file: string): string {
  const { token } = JSON.parse(readFileSync(file, 'utf8')) as { token: string }
  return token
}

function listening(run: Run): Promise<string> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const url = /^nimbus listening on (\S+)\n/m.exec(run.stdout())?.[1]
      if (url !== undefined) resolve(url)
    }
    run.process.stdout?.on('data', look)
    void run.finished.then(({ code, stderr }) => {
      reject(new Error(`the server ended with ${code}: ${stderr}`))
    })
  })
}
