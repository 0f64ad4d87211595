/** The HTTP application on a real socket, over tenants in memory. */
import { onTestFinished } from 'vitest'
import type { AdmissionLimits } from '../../src/server/admission.js'
import { createApp } from '../../src/server/app.js'
import { postureOf } from '../../src/server/encryption-posture.js'
import { createLogger } from '../../src/server/log.js'
import { BackgroundVerification } from '../../src/server/verification.js'
import { openControlPlane } from '../control/open.js'
import { temporaryDirectory } from './directory.js'
import { MemoryTenants } from './memory-tenants.js'

export const TOKEN = 'nimbus_0123456789abcdefghijklmnopqrstuvwxyz'

export interface Failure {
  readonly code: string
  readonly message: string
  readonly request_id: string | null
  readonly retryable: boolean
  readonly remediation: string
  readonly path?: string
}

/** The members that answers of the server can have; a test asks only for those that its route has. */
export interface Body {
  readonly id: string
  readonly table: string
  readonly version: number
  readonly created_at: string
  readonly updated_at: string
  readonly fields: Readonly<Record<string, unknown>>
  readonly data: readonly Body[]
  readonly next_cursor: string | null
  readonly has_more: boolean
  readonly results: readonly { readonly op: string; readonly document: Body }[]
  readonly token: string
  readonly event: string
  readonly subject: string
  /** Of /openapi.json. */
  readonly paths: Readonly<Record<string, object>>
  readonly error: Failure
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The parsed body; an empty object if it is not JSON. */
  readonly body: Body
}

export interface TestApp {
  readonly tenants: MemoryTenants
  readonly origin: string
  /** Everything that was logged so far. */
  readonly logged: () => string
  /** How many requests the server has begun to read. */
  readonly begun: () => number
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  close(): Promise<void>
}

/** A body that is not a string or bytes is sent as JSON. The token is sent unless `headers` say otherwise. */
export async function startTestApp(limits?: AdmissionLimits): Promise<TestApp> {
  const tenants = new MemoryTenants()
  const control = await openControlPlane({ directory: temporaryDirectory() })
  onTestFinished(() => control.close())
  let logged = ''
  const app = createApp({
    tenants,
    posture: postureOf({ encryption: undefined, tenantProvider: 'sqlite' }),
    tokens: { accepts: (token) => token === TOKEN, grantOf: (token) => control.tokens.grantOf(token) },
    control,
    verification: new BackgroundVerification({
      tenants,
      control,
      keys: undefined,
      directories: [],
      warn: (what) => (logged += what),
    }),
    log: createLogger({ write: (line) => (logged += line) }),
    ...(limits !== undefined && { limits }),
  })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  onTestFinished(() => app.close())
  let begun = 0
  app.server.on('request', () => begun++)
  return {
    tenants,
    origin,
    logged: () => logged,
    begun: () => begun,
    request: (method, path, body, headers) => requestJson(origin + path, TOKEN, method, body, headers),
    close: () => app.close(),
  }
}

export async function requestJson(
  url: string,
  token: string,
  method: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const given = new Headers({ authorization: `Bearer ${token}` })
  if (body !== undefined) given.set('content-type', 'application/json')
  for (const [name, value] of Object.entries(headers)) {
    if (value === '') given.delete(name)
    else given.set(name, value)
  }
  const raw = typeof body === 'string' || body instanceof Uint8Array || body === undefined
  const response = await fetch(url, { method, headers: given, body: raw ? (body ?? null) : JSON.stringify(body) })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json') === true
  const { status, headers: received } = response
  return { status, headers: received, text, body: JSON.parse(isJson ? text : '{}') as Body }
}
