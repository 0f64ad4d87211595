/** Sends JSON text that is ready, counting it as long as it waits for its reader. */
import type { FastifyReply } from 'fastify'
import { JSON_TYPE } from './failures.js'

/** Below this an answer fits the socket's buffer and is gone at once. */
const COUNTED_BYTES = 16 * 1024

export function answer(reply: FastifyReply, status: number, json: string): FastifyReply {
  if (json.length > COUNTED_BYTES) reply.request.call?.hold(json.length)
  return reply.code(status).header('content-type', JSON_TYPE).send(json)
}
