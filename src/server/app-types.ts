/** The types that routes and application share, and what nimbus adds to Fastify's own. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
} from 'fastify'
import type { RawServerDefault } from 'fastify'
import type { TSchema } from 'typebox'
import type { Access } from '../control/tokens.js'
import type { Call } from './call.js'

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** What a route says about itself besides its request schemas. */
export interface RouteDescription {
  readonly summary: string
  /** By status; null for an answer without a body, a string for the content type of one that is not JSON. */
  readonly answers: Readonly<Record<number, TSchema | string | null>>
  /**
   * What an API token must permit: to read or write the tenant that the path names, or nothing in particular. Left out, the
   * route is for the admin token alone.
   */
  readonly access?: Access | 'any'
  /** No token is asked for. */
  readonly open?: true
  /** Answered under overload too, so that an operator can see it. */
  readonly always?: true
}

declare module 'fastify' {
  interface FastifyRequest {
    call: Call | null
  }
  interface FastifyContextConfig {
    description?: RouteDescription
  }
}
