/** The server's log: JSON lines that never carry a document, a token, a key, a query string or a client's text. */
import { pino, type DestinationStream, type Logger } from 'pino'
import type { NimbusError, NimbusErrorCode } from '../errors.js'
import { timestamp } from './timestamp.js'

export type { Logger } from 'pino'

/** More than this waiting for a stalled reader of the log is dropped: the log must not eat the server's memory. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024

/** A write for each line costs more than a point read. */
const WRITTEN_TOGETHER_BYTES = 8 * 1024
const FLUSH_MS = 200

export function createLogger(destination: DestinationStream = stderr()): Logger {
  const time = (): string => `,"time":"${timestamp(Date.now())}"`
  return pino({ base: { pid: process.pid }, timestamp: time }, destination)
}

/** Written without waiting, so that a slow terminal does not block the event loop, and many lines at a time. */
function stderr(): DestinationStream {
  return pino.destination({
    fd: 2,
    sync: false,
    minLength: WRITTEN_TOGETHER_BYTES,
    periodicFlush: FLUSH_MS,
    maxLength: MAX_BUFFERED_BYTES,
  })
}

/** What the log says about a failure. */
export interface LoggedError {
  readonly code: NimbusErrorCode
  readonly message: string
  readonly path?: string
  readonly cause?: string
}

/**
 * A message of ours names files and keys. One of an engine or a library may quote what it choked on (JSON.parse does), so
 * of those only the kind and the places in the code are kept.
 */
export function describeForLog(error: NimbusError): LoggedError {
  const { code, message, path } = error
  const cause = describeCause(error.cause)
  return { code, message, ...(path !== undefined && { path }), ...(cause !== undefined && { cause }) }
}

function describeCause(cause: unknown): string | undefined {
  if (cause === undefined) return undefined
  if (!(cause instanceof Error)) return typeof cause
  const frames = (cause.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  const code = 'code' in cause && typeof cause.code === 'string' ? ` ${cause.code}` : ''
  return [`${cause.name}${code}`, ...frames.map((line) => line.trim())].slice(0, 12).join('; ')
}
