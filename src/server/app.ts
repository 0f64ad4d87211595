/** The HTTP application: Fastify with nimbus' own parsing, checking, guarding and answering, and all routes. */
import { randomBytes } from 'node:crypto'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import fastify from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { NimbusError } from '../errors.js'
import type { TenantProvider } from '../tenants/contract.js'
import { Admission, DEFAULT_LIMITS, type AdmissionLimits } from './admission.js'
import type { App } from './app-types.js'
import type { EncryptionPosture } from './encryption-posture.js'
import { answerClientError, failureOf, sendFailure } from './failures.js'
import { createGuard, type TokenAuthority } from './guard.js'
import { BODY_LIMIT_BYTES, acceptJsonBodies } from './json-body.js'
import type { Logger } from './log.js'
import { Metrics } from './metrics.js'
import { collectRoutes } from './openapi.js'
import { readReadings } from './readings.js'
import { addControlRoutes, type ControlRecords } from './routes/control.js'
import { addDocumentRoutes } from './routes/documents.js'
import { addOperationRoutes } from './routes/operations.js'
import { addQueryRoutes } from './routes/queries.js'
import { addTableSchemaRoutes } from './routes/table-schemas.js'
import { addTenantRoutes } from './routes/tenants.js'
import { addTransactionRoutes } from './routes/transactions.js'
import { addVerificationRoutes } from './routes/verification.js'
import { Turns } from './turns.js'
import { compileValidator } from './validation.js'
import type { BackgroundVerification } from './verification.js'

export interface AppOptions {
  readonly tenants: TenantProvider
  readonly posture: EncryptionPosture
  readonly tokens: TokenAuthority
  readonly control: ControlRecords
  readonly verification: Pick<BackgroundVerification, 'begin' | 'state'>
  readonly log: Logger
  readonly limits?: AdmissionLimits
  /** PEM texts; TLS 1.3 only. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined
}

/** How long a client may take, so that slow ones cannot hold the server's connections. */
const HEAD_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 60_000
const CONNECTION_CHECK_MS = 5_000
/** Longer than proxies usually keep their side open, so that it is they who close. */
const KEEP_ALIVE_MS = 72_000
/** No byte in either direction: a reader that stalled. Long, since a schema over many documents takes its time. */
const IDLE_SOCKET_MS = 600_000
const MAX_CONNECTIONS = 8192
const MAX_PATH_PART_CHARACTERS = 1024

/** Does not listen yet. `close` finishes running requests, refuses new ones and closes connections. */
export function createApp(options: AppOptions): App {
  const { tenants, posture, tokens, control, verification, log, limits = DEFAULT_LIMITS, tls } = options
  const admission = new Admission(limits, () => tenants.stats().queuedBytes)
  const metrics = new Metrics()
  let stopping = false
  const guard = createGuard(tokens, { admission, metrics, log }, () => stopping)

  const app: App = fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    exposeHeadRoutes: false,
    // The guard answers late requests, with an error object like any other.
    return503OnClosing: false,
    genReqId: requestIds(),
    routerOptions: { maxParamLength: MAX_PATH_PART_CHARACTERS },
    clientErrorHandler: answerClientError,
    serverFactory: (handler) => createHttp(handler, tls),
    // What does not even reach a router's hooks, such as a malformed path.
    frameworkErrors: (error, request, reply) => {
      void guard.refuse(error, request, reply)
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.decorateRequest('call', null)
  app.setValidatorCompiler(compileValidator)
  acceptJsonBodies(app)
  app.addHook('onRequest', guard.admit)
  app.addHook('preClose', (done) => {
    stopping = true
    done()
  })
  app.addHook('onClose', (_app, done) => {
    metrics.close()
    done()
  })
  app.setErrorHandler((error, request, reply) => {
    const failure = failureOf(error)
    request.call?.fail(failure)
    return sendFailure(failure, reply)
  })
  app.setNotFoundHandler((request) => {
    throw new NimbusError('not_found', `there is no route ${request.method} of this path`)
  })

  const description = collectRoutes(app)
  addTenantRoutes(app, tenants)
  const turns = new Turns()
  addDocumentRoutes(app, tenants, turns)
  addQueryRoutes(app, tenants, turns)
  addTableSchemaRoutes(app, tenants)
  addTransactionRoutes(app, tenants)
  addControlRoutes(app, control)
  addVerificationRoutes(app, verification)
  const readings = () => readReadings(tenants, admission)
  addOperationRoutes(app, { tenants, posture, metrics, readings, description })
  return app
}

/** Made here and never taken from a client, so that an id in the log names one request. */
function requestIds(): () => string {
  const prefix = randomBytes(6).toString('hex')
  let count = 0
  return () => `${prefix}-${(++count).toString(36)}`
}

function createHttp(handler: RequestListener, tls: AppOptions['tls']): Server {
  const limits = {
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CONNECTION_CHECK_MS,
  }
  const server: Server =
    tls === undefined
      ? createHttpServer(limits, handler)
      : createHttpsServer({ ...limits, cert: tls.cert, key: tls.key, minVersion: 'TLSv1.3' }, handler)
  server.maxConnections = MAX_CONNECTIONS
  server.setTimeout(IDLE_SOCKET_MS)
  return server
}
