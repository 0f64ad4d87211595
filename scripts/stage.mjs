/** One stage of a script: says what runs, for how long, and, when it fails, everything the command printed. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** Silence longer than this is broken by a line that says what is running. */
const heartbeatMs = 15_000

const colour = process.stdout.isTTY && process.env.NO_COLOR === undefined
/** @type {(code: number, text: string) => string} */
const paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
const signals = /** @type {const} */ (['SIGINT', 'SIGTERM'])

/** Stopping this script stops what it started. @param {NodeJS.Signals} signal */
function stopAll(signal) {
  for (const child of running) child.kill(signal)
  process.exit(signal === 'SIGINT' ? 130 : 143)
}

/** @param {import('node:child_process').ChildProcess} child */
function started(child) {
  if (running.size === 0) for (const signal of signals) process.on(signal, stopAll)
  running.add(child)
}

/** @param {import('node:child_process').ChildProcess} child */
function ended(child) {
  running.delete(child)
  if (running.size === 0) for (const signal of signals) process.off(signal, stopAll)
}

/** What a stage throws when it has said everything there is to say. */
export class StageFailure extends Error {
  /** @param {string} output */
  constructor(output) {
    super(output)
    this.name = 'StageFailure'
  }
}

/**
 * Runs `work` under a name and prints one line when it ends: what it returned, and the time.
 *
 * @param {string} name
 * @param {(progress: (line: string) => void) => Promise<string> | string} work returns a word or two about the outcome
 * @returns {Promise<boolean>} false when it failed; the failure has been printed
 */
export async function stage(name, work) {
  const startedAt = performance.now()
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`
  let latest = ''
  const heartbeat = setInterval(() => {
    console.log(
      `${paint(2, '...')} ${name.padEnd(13)} ${seconds().padStart(8)}  ${stripVTControlCharacters(latest).trim().slice(0, 90)}`,
    )
  }, heartbeatMs)
  try {
    const outcome = await work((line) => (latest = line))
    console.log(`${paint(32, ' ok')} ${name.padEnd(13)} ${seconds().padStart(8)}  ${outcome}`)
    return true
  } catch (error) {
    console.log(`${paint(31, 'BAD')} ${name.padEnd(13)} ${seconds().padStart(8)}`)
    const text = error instanceof StageFailure ? error.message : String(error instanceof Error ? error.stack : error)
    console.log(text.trimEnd().replace(/^/gm, '    '))
    return false
  } finally {
    clearInterval(heartbeat)
  }
}

/**
 * Runs a command in the root of the repository.
 *
 * @param {readonly string[]} command
 * @param {{ env?: NodeJS.ProcessEnv, progress?: (line: string) => void }} [options]
 * @returns {Promise<string>} what it printed; throws a {@link StageFailure} with it when it fails
 */
export function run([file, ...args], { env = {}, progress } = {}) {
  if (file === undefined) throw new TypeError('run() needs a command')
  const commandLine = [file, ...args].join(' ')
  return new Promise((resolve, reject) => {
    const forceColour = colour ? { FORCE_COLOR: '1', CARGO_TERM_COLOR: 'always' } : {}
    const child = spawn(file, args, {
      cwd: root,
      env: { ...process.env, ...forceColour, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    started(child)
    let output = ''
    /** @param {Buffer} chunk */
    const collect = (chunk) => {
      const text = chunk.toString()
      output += text
      const line = text.trimEnd().split('\n').at(-1)
      if (line) progress?.(line)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', (error) => {
      ended(child)
      reject(new StageFailure(`$ ${commandLine}\n${error.message}`))
    })
    child.on('close', (code, signal) => {
      ended(child)
      if (code === 0) resolve(output)
      else reject(new StageFailure(`$ ${commandLine}\n${output.trimEnd()}\n(${signal ?? `exit code ${code}`})`))
    })
  })
}
