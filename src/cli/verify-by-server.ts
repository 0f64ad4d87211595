/** Has the server that owns a directory verify it, and waits for that. */
import { realpath } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { FlagSpec, ParsedFlags } from '../config/flags.js'
import { ERROR_CODES, NimbusError } from '../errors.js'
import { AdminClient, isObject } from './admin-client.js'
import type { Context } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { type FileResult, printResults } from './results.js'

export const RATE_FLAG: FlagSpec = {
  flag: '--rate',
  value: '<MiB/s>',
  help: 'How many MiB the server may read in a second. Default: 32',
}

const ROUTE = '/debug/encryption/verify'
const ASK_EVERY_MS = 250

/**
 * The exit code: 0 if all files of the server are whole.
 *
 * @throws `busy`, which is why the directory cannot be verified otherwise, if no server of this directory answers; what the server says
 */
export async function verifyByServer(
  path: string,
  busy: NimbusError,
  flags: ParsedFlags,
  context: Context,
): Promise<number> {
  const query = rateOf(flags.get('--rate'))
  const client = AdminClient.from(flags, context.env)
  await requireOwner(client, await realpath(path), busy)
  const display = new ProgressDisplay(process.stderr)
  const results = await interruptibly(async (signal) => {
    try {
      return await follow(client, query, display, signal)
    } finally {
      display.end()
      if (signal.aborted) {
        context.warn('the server goes on with the verification', 'Run the command again to wait for its end.')
      }
    }
  })
  printResults('encryption verify', results, context)
  const isWhole = results.every(({ outcome }) => outcome === 'sound' || outcome === 'empty')
  return isWhole ? 0 : ERROR_CODES.file_corrupt.exitCode
}

/** Whoever answers at that URL may be the server of another directory. */
async function requireOwner(client: AdminClient, directory: string, busy: NimbusError): Promise<void> {
  const { directories } = await stateFrom(client, 'GET', '').catch((error: unknown) => {
    if (error instanceof NimbusError && error.code === 'io_error') throw notAsked(busy, error.message)
    throw error
  })
  if (directories.includes(directory)) return
  throw notAsked(busy, `the server that answers has ${directories.join(' and ')}`)
}

function notAsked({ code, message, path, detail, cause }: NimbusError, why: string): NimbusError {
  return new NimbusError(code, `${message}; ${why}`, {
    path,
    detail,
    cause,
    remediation: 'If a server owns the directory, name its URL with --url; if another command does, wait for its end.',
  })
}

async function follow(
  client: AdminClient,
  query: string,
  display: ProgressDisplay,
  signal: AbortSignal,
): Promise<FileResult[]> {
  const begun = await stateFrom(client, 'POST', query)
  const results: FileResult[] = []
  for (;;) {
    const now = await stateFrom(client, 'GET', `?after=${results.length}`)
    if (now.startedAt !== begun.startedAt) throw endedEarly('the server was started anew, or verifies another time')
    results.push(...now.results)
    if (now.current !== undefined) display.update(now.current.path, now.current)
    if (now.state !== 'running' && !now.hasMore) {
      if (now.state === 'done') return results
      throw endedEarly('the server ended it')
    }
    if (now.hasMore) continue
    await setTimeout(ASK_EVERY_MS, undefined, { signal }).catch(() => undefined)
    signal.throwIfAborted()
  }
}

function endedEarly(why: string): NimbusError {
  return new NimbusError('shutting_down', `the verification did not come to its end: ${why}`, {
    remediation: 'Run the command again.',
  })
}

interface State {
  readonly state: string
  readonly startedAt: string
  readonly directories: readonly string[]
  readonly current: { path: string; phase: string; doneBytes: number; totalBytes: number } | undefined
  readonly results: readonly FileResult[]
  readonly hasMore: boolean
}

async function stateFrom(client: AdminClient, method: 'GET' | 'POST', query: string): Promise<State> {
  const answer = await client.request(method, ROUTE + query)
  const body = isObject(answer) ? answer : {}
  const { state, started_at: startedAt, directories, current, results, has_more: hasMore } = body
  return {
    state: String(state),
    startedAt: String(startedAt),
    directories: Array.isArray(directories) ? directories.map(String) : [],
    current: isObject(current)
      ? {
          path: String(current['path']),
          phase: 'verifying',
          doneBytes: Number(current['done_bytes']),
          totalBytes: Number(current['total_bytes']),
        }
      : undefined,
    results: Array.isArray(results) ? results.filter(isObject).map(resultOf) : [],
    hasMore: hasMore === true,
  }
}

function resultOf(result: Record<string, unknown>): FileResult {
  const { path, outcome, note, ...rest } = result
  return { path: String(path), outcome: String(outcome), ...rest, ...(typeof note === 'string' && { note }) }
}

function rateOf(mebibytes: string | true | undefined): string {
  if (mebibytes === undefined) return ''
  if (typeof mebibytes === 'string' && /^[1-9][0-9]{0,5}$/.test(mebibytes)) {
    return `?bytes_per_second=${Number(mebibytes) * 1_048_576}`
  }
  throw new NimbusError('usage', `--rate ${JSON.stringify(mebibytes)} is not a number of MiB`, {
    remediation: 'Give a whole number from 1 to 999999.',
  })
}
