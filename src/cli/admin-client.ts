/** Asks a running server as its administrator: it owns the control plane, so nobody else may open that. */
import type { FlagSpec, ParsedFlags } from '../config/flags.js'
import { isLoopback } from '../config/loopback.js'
import type { Environment } from '../config/sources.js'
import { TOKEN_FLAGS, resolveTokenFile } from '../config/token-file.js'
import { NimbusError, type NimbusErrorCode, isErrorCode, systemErrorCode } from '../errors.js'
import { readAdminToken } from '../server/admin-token.js'

const DEFAULT_URL = 'http://127.0.0.1:8080'
const TIMEOUT_MS = 30_000

export const URL_FLAG: FlagSpec = {
  flag: '--url',
  value: '<url>',
  help: `The running server, also NIMBUS_URL; ${DEFAULT_URL} if neither is given. For a certificate of your own set NODE_EXTRA_CA_CERTS.`,
}

/** What every command takes that asks a server. */
export const CLIENT_FLAGS: readonly FlagSpec[] = [URL_FLAG, ...TOKEN_FLAGS]

export class AdminClient {
  readonly #origin: string
  readonly #token: string

  private constructor(origin: string, token: string) {
    this.#origin = origin
    this.#token = token
  }

  /** @throws `usage`, `config_invalid` for a URL over which the token would travel in the clear */
  static from(flags: ParsedFlags, env: Environment): AdminClient {
    const given = flags.get('--url') ?? env['NIMBUS_URL']
    const origin = originOf(typeof given === 'string' && given !== '' ? given : DEFAULT_URL)
    return new AdminClient(origin, readAdminToken(resolveTokenFile(flags, env)))
  }

  /** The parsed answer; undefined if there is none. @throws what the server says, with its code */
  async request(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> {
    const response = await this.#send(method, path, body)
    const text = await response.text()
    if (!response.ok) throw failureIn(text, response.status, this.#origin)
    try {
      return text === '' ? undefined : JSON.parse(text)
    } catch {
      throw failureIn(text, response.status, this.#origin)
    }
  }

  async #send(method: string, path: string, body: object | undefined): Promise<Response> {
    const headers = new Headers({ authorization: `Bearer ${this.#token}` })
    if (body !== undefined) headers.set('content-type', 'application/json')
    try {
      return await fetch(this.#origin + path, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        // A server does not redirect; whoever does must not be told the token.
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
    } catch (error) {
      const reason = systemErrorCode(error instanceof Error ? error.cause : undefined) ?? 'no answer'
      throw new NimbusError('io_error', `cannot reach the server at ${this.#origin}: ${reason}`, {
        remediation: 'Start it, or name the URL where it listens with --url.',
        cause: error,
      })
    }
  }
}

function originOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (url === undefined || !isHttp || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new NimbusError('usage', `${JSON.stringify(text)} is not the URL of a server`, {
      remediation: `Give scheme, host and port alone, as in ${DEFAULT_URL}.`,
    })
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname.replace(/^\[|\]$/g, ''))) {
    throw new NimbusError('config_invalid', `${url.origin} would carry the admin token in the clear`, {
      remediation: 'Use https, or run the command on the machine of the server.',
    })
  }
  return url.origin
}

function failureIn(text: string, status: number, origin: string): NimbusError {
  const { code, message, remediation } = errorOf(text) ?? {}
  if (code === undefined || message === undefined) {
    return new NimbusError('io_error', `${origin} answered ${status}, not as nimbus does`, {
      remediation: 'Name the URL where nimbus listens with --url.',
    })
  }
  return new NimbusError(code, message, { remediation })
}

/** The error object of a nimbus server. */
function errorOf(text: string): { code?: NimbusErrorCode; message?: string; remediation?: string } | undefined {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return undefined
  }
  const error = isObject(body) ? body['error'] : undefined
  if (!isObject(error)) return undefined
  const { code, message, remediation } = error
  if (typeof code !== 'string' || !isErrorCode(code) || typeof message !== 'string') return undefined
  return { code, message, ...(typeof remediation === 'string' && { remediation }) }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
