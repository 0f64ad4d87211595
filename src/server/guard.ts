/** What every request passes before anything is read of its body: token first, then whether there is room for it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { NimbusError, toNimbusError } from '../errors.js'
import { Call, type CallObservers } from './call.js'
import { failureOf, sendFailure } from './failures.js'
import { BODY_LIMIT_BYTES } from './json-body.js'

/** Whoever knows whether a token is good; compares in constant time. */
export interface TokenAuthority {
  accepts(token: string): boolean
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

  const authorize = ({ headers }: FastifyRequest): void => {
    const header = headers.authorization
    if (header === undefined) throw new NimbusError('unauthorized', 'the request carries no bearer token')
    const token = BEARER.exec(header)?.[1]
    if (token === undefined) throw new NimbusError('unauthorized', 'the Authorization header is not a bearer token')
    if (!tokens.accepts(token)) throw new NimbusError('unauthorized', 'the token is not valid')
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

/** A body of unknown length counts as the largest one; what is announced larger is refused anyway. */
function announcedBytes({ headers }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return BODY_LIMIT_BYTES
  const announced = Number(headers['content-length'] ?? 0)
  return announced <= BODY_LIMIT_BYTES ? announced : 0
}
