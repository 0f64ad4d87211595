/** Real processes that run a TypeScript file of the tests, since kills, races and heaps cannot be had inside one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const LOADER = fileURLToPath(new URL('./typescript.mjs', import.meta.url))

export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `script` (a file URL) with `args` as another process, and as another user if `uid` says so, until it ends. */
export function runChild(script: URL, args: readonly string[], options: { uid?: number } = {}): Promise<Ended> {
  return ended(startChild(script, args, options))
}

export function startChild(script: URL, args: readonly string[], options: { uid?: number } = {}): ChildProcess {
  const child = spawn(process.execPath, ['--import', LOADER, fileURLToPath(script), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  return child
}

export function ended(child: ChildProcess): Promise<Ended> {
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) => resolve({ status, signal, ...output }))
  })
}
