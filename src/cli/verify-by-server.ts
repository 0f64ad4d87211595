/** Has the server that owns a directory verify it, and waits for that. */
import { realpath } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { FlagSpec, ParsedFlags } from '../config/flags.js'
import type { Environment } from '../config/sources.js'
import { exitCodeOf } from '../encryption/verify-report.js'
import { NimbusError } from '../errors.js'
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
const MEBIBYTE = 1_048_576

/**
 * The exit code, as of files at rest.
 *
 * @throws `usage`; `busy`, which is why the directory cannot be verified otherwise, unless the server of this directory answers;
 * what that server says then
 */
export async function verifyByServer(
  path: string,
  busy: NimbusError,
  flags: ParsedFlags,
  context: Context,
): Promise<number> {
  const rate = rateOf(flags.get('--rate'))
  const client = await ownerOf(await realpath(path), busy, flags, context.env)
  const display = new ProgressDisplay(process.stderr)
  const results = await interruptibly(async (signal) => {
    try {
      return await follow(client, rate, display, signal, context)
    } finally {
      display.end()
      if (signal.aborted) {
        context.warn('the server goes on with the verification', 'Run the command again to wait for its end.')
      }
    }
  })
  printResults('encryption verify', results, context)
  return exitCodeOf(results)
}

/**
 * Who holds the directory need not be a server, and whoever answers at that URL may be the server of another one: the cause of every
 * refusal is the lock, and what hinders the asking is said behind it.
 */
async function ownerOf(
  directory: string,
  busy: NimbusError,
  flags: ParsedFlags,
  env: Environment,
): Promise<AdminClient> {
  const { client, directories } = await answering(flags, env).catch((error: unknown) => {
    // A URL that is none is the user's to correct, whoever holds the directory.
    if (error instanceof NimbusError && error.code !== 'usage') throw notAsked(busy, error.message)
    throw error
  })
  if (directories.includes(directory)) return client
  throw notAsked(busy, `the server that answers has ${directories.join(' and ')}`)
}

async function answering(
  flags: ParsedFlags,
  env: Environment,
): Promise<{ client: AdminClient; directories: readonly string[] }> {
  const client = AdminClient.from(flags, env)
  const { directories } = await stateFrom(client, 'GET', '')
  return { client, directories }
}

function notAsked({ code, message, path, detail, cause }: NimbusError, why: string): NimbusError {
  return new NimbusError(code, `${message}; ${why}`, {
    path,
    detail,
    cause,
    remediation:
      'If a server owns the directory, name its URL with --url and its admin token file with NIMBUS_AUTH_TOKEN_FILE; if another ' +
      'program or command does, wait for its end.',
  })
}

async function follow(
  client: AdminClient,
  rate: number | undefined,
  display: ProgressDisplay,
  signal: AbortSignal,
  { warn }: Context,
): Promise<Reported[]> {
  const begun = await stateFrom(client, 'POST', rate === undefined ? '' : `?bytes_per_second=${rate}`)
  if (rate !== undefined && begun.bytesPerSecond !== rate) {
    warn(
      `a verification was under way, which reads ${begun.bytesPerSecond / MEBIBYTE} MiB a second: --rate changes nothing of it`,
      'Run the command again after its end for one of another rate.',
    )
  }
  const results: Reported[] = []
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

interface Reported extends FileResult {
  readonly code?: string | undefined
}

interface State {
  readonly state: string
  readonly startedAt: string
  readonly directories: readonly string[]
  readonly bytesPerSecond: number
  readonly current: { path: string; phase: string; doneBytes: number; totalBytes: number } | undefined
  readonly results: readonly Reported[]
  readonly hasMore: boolean
}

async function stateFrom(client: AdminClient, method: 'GET' | 'POST', query: string): Promise<State> {
  const answer = await client.request(method, ROUTE + query)
  const body = isObject(answer) ? answer : {}
  const { state, started_at: startedAt, directories, current, results } = body
  return {
    state: String(state),
    startedAt: String(startedAt),
    directories: Array.isArray(directories) ? directories.map(String) : [],
    bytesPerSecond: Number(body['bytes_per_second']),
    current: isObject(current)
      ? {
          path: String(current['path']),
          phase: 'verifying',
          doneBytes: Number(current['done_bytes']),
          totalBytes: Number(current['total_bytes']),
        }
      : undefined,
    results: Array.isArray(results) ? results.filter(isObject).map(resultOf) : [],
    hasMore: body['has_more'] === true,
  }
}

function resultOf(result: Record<string, unknown>): Reported {
  const { path, outcome, code, note, ...rest } = result
  return {
    path: String(path),
    outcome: String(outcome),
    ...rest,
    ...(typeof code === 'string' && { code }),
    ...(typeof note === 'string' && { note }),
  }
}

/** In bytes a second. */
function rateOf(mebibytes: string | true | undefined): number | undefined {
  if (mebibytes === undefined) return undefined
  if (typeof mebibytes === 'string' && /^[1-9][0-9]{0,5}$/.test(mebibytes)) {
    return Number(mebibytes) * MEBIBYTE
  }
  throw new NimbusError('usage', `--rate ${JSON.stringify(mebibytes)} is not a number of MiB`, {
    remediation: 'Give a whole number from 1 to 999999.',
  })
}
