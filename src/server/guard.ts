/** What every request passes before anything is read of its body: token first, then whether there is room for it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { NimbusError, toNimbusError } from '../errors.js'
import type { Grant } from '../control/tokens.js'
import type { RouteDescription } from './app-types.js'
import { Call, type CallObservers } from './call.js'
import { failureOf, sendFailure } from './failures.js'
import { BODY_LIMIT_BYTES } from './json-body.js'

/** Whoever knows whether a token is good, in a time that tells nothing of the good ones. */
export interface TokenAuthority {
  /** Whether it is the admin token. */
  accepts(token: string): boolean
  /** What an API token permits; undefined if it is none. */
  grantOf(token: string): Pick<Grant, 'permits'> | undefined
}

export interface Guard {
  /** The hook for every request, known route or not. */
  readonly admit: (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void
  /** Says why a request that no hook will see is refused: it has no good token, or is what Fastify found it to be. */
  readonly refuse: (found: unknown, request: FastifyRequest, reply: FastifyReply) => FastifyReply
}

/** RFC 7235: the scheme is case-insensitive. */
const BEARER = /^Bearer +([^ ]+) *$/i

export function createGuard(tokens: TokenAuthority, observers: CallObservers, isStopping: () => boolean): Guard {
  const begin = (request: FastifyRequest, reply: FastifyReply): Call => {
    const call = new Call(observers)
    request.call = call
    reply.raw.once('close', () => {
      call.end(request, reply)
    })
    return call
  }

  const authorize = ({ headers, params, routeOptions }: FastifyRequest): void => {
    const header = headers.authorization
    if (header === undefined) throw new NimbusError('unauthorized', 'the request carries no bearer token')
    const token = BEARER.exec(header)?.[1]
    if (token === undefined) throw new NimbusError('unauthorized', 'the Authorization header is not a bearer token')
    const grant = tokens.grantOf(token)
    if (grant !== undefined) requirePermission(grant, routeOptions.config.description, params)
    else if (!tokens.accepts(token)) throw new NimbusError('unauthorized', 'the token is not valid')
  }

  const admit: Guard['admit'] = (request, reply, done) => {
    const call = begin(request, reply)
    const description = request.routeOptions.config.description
    try {
      if (isStopping()) throw new NimbusError('shutting_down', 'the server is stopping')
      if (description?.open !== true) authorize(request)
      if (description?.always !== true) call.enter(announcedBytes(request))
    } catch (refusal) {
      done(toNimbusError(refusal))
      return
    }
    done()
  }

  const refuse: Guard['refuse'] = (found, request, reply) => {
    const call = begin(request, reply)
    let failure = failureOf(found)
    try {
      authorize(request)
    } catch (refusal) {
      failure = toNimbusError(refusal)
    }
    call.fail(failure)
    return sendFailure(failure, reply)
  }

  return { admit, refuse }
}

/** A route that does not exist permits nothing and tells nothing: whoever has a token may be told so. */
function requirePermission(
  grant: Pick<Grant, 'permits'>,
  description: RouteDescription | undefined,
  params: unknown,
): void {
  if (description === undefined || description.access === 'any') return
  const { access } = description
  if (access === undefined) throw new NimbusError('forbidden', 'only the admin token permits this')
  const tenant = typeof params === 'object' && params !== null && 'tenant' in params ? params.tenant : undefined
  if (typeof tenant === 'string' && grant.permits(access, tenant)) return
  throw new NimbusError('forbidden', `the token does not permit to ${access} documents of this tenant`)
}

/** A body of unknown length counts as the largest one; what is announced larger is refused anyway. */
function announcedBytes({ headers }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return BODY_LIMIT_BYTES
  const announced = Number(headers['content-length'] ?? 0)
  return announced <= BODY_LIMIT_BYTES ? announced : 0
}
