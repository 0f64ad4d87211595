/** Sends what is ready: JSON text, another text, or nothing. Every answer leaves the server here. */
import type { FastifyReply } from 'fastify'

export const JSON_TYPE = 'application/json; charset=utf-8'

/** Below this an answer fits the socket's buffer and is gone at once. */
const COUNTED_CHARACTERS = 16 * 1024

/** Above this bytes are better than text, for which Node sets aside three bytes a character. */
const ENCODED_CHARACTERS = 256 * 1024

/** What every answer says besides its content, as names and values in turn. */
const COMMON_HEADERS = ['cache-control', 'no-store', 'x-content-type-options', 'nosniff']

/** JSON text, counted as long as it waits for its reader; `headers` are names and values in turn. */
export function answer(
  reply: FastifyReply,
  status: number,
  json: string,
  headers: readonly string[] = [],
): FastifyReply {
  return answerText(reply, status, JSON_TYPE, json, headers)
}

export function answerText(
  reply: FastifyReply,
  status: number,
  type: string,
  text: string,
  headers: readonly string[] = [],
): FastifyReply {
  if (text.length > COUNTED_CHARACTERS) reply.request.call?.hold(text.length)
  const length = String(Buffer.byteLength(text))
  writeHead(reply, status, ['content-type', type, 'content-length', length, ...headers])
  reply.raw.end(text.length > ENCODED_CHARACTERS ? Buffer.from(text) : text)
  return reply
}

/** 204. */
export function answerNothing(reply: FastifyReply): FastifyReply {
  writeHead(reply, 204, [])
  reply.raw.end()
  return reply
}

/** Straight to Node: Fastify's own way looks for serializers and hooks, of which there are none, on every request. */
function writeHead(reply: FastifyReply, status: number, headers: readonly string[]): void {
  const { raw, request } = reply.hijack()
  raw.writeHead(status, ['x-request-id', request.id, ...COMMON_HEADERS, ...headers])
}
