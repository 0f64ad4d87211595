/** Turns whatever went wrong into the one error object, with the status that its code has. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'
import {
  ERROR_CODES,
  NimbusError,
  systemErrorCode,
  toErrorBody,
  toNimbusError,
  type NimbusErrorCode,
} from '../errors.js'
import { RETRY_AFTER_SECONDS } from './admission.js'
import { JSON_TYPE, answer } from './answer.js'

export function sendFailure(error: NimbusError, reply: FastifyReply): FastifyReply {
  const { httpStatus } = ERROR_CODES[error.code]
  const headers: string[] = []
  if (httpStatus === 401) headers.push('www-authenticate', 'Bearer realm="nimbus"')
  if (httpStatus === 503) headers.push('retry-after', String(RETRY_AFTER_SECONDS))
  // Nobody reads the rest of a body that is too large, so nothing can follow it.
  if (error.code === 'shutting_down' || error.code === 'body_too_large') headers.push('connection', 'close')
  return answer(reply, httpStatus, JSON.stringify(toErrorBody(error, reply.request.id)), headers)
}

const FRAMEWORK_FAILURES: Readonly<Record<string, readonly [NimbusErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'the body exceeds 1048576 bytes'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['invalid_request', 'the content type of the body is not application/json'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalid_request', 'the body is not as long as Content-Length says'],
  FST_ERR_BAD_URL: ['invalid_request', 'the path is not a valid URL path'],
  FST_ERR_MAX_PARAM_LENGTH: ['invalid_request', 'a part of the path is too long'],
}

/** Also knows what Fastify throws about requests; its own wording may quote them, so none of it is passed on. */
export function failureOf(thrown: unknown): NimbusError {
  const code = systemErrorCode(thrown) ?? ''
  const known = FRAMEWORK_FAILURES[code]
  if (known !== undefined) return new NimbusError(known[0], known[1])
  if (code.startsWith('FST_ERR_CTP_')) return new NimbusError('invalid_request', 'the body cannot be read')
  if (code === 'ECONNRESET') return new NimbusError('invalid_request', 'the connection ended before the body did')
  return toNimbusError(thrown)
}

/** Answers what is not even HTTP; there is no request yet, so no request id either. */
export function answerClientError(error: unknown, socket: Duplex): void {
  const code = systemErrorCode(error)
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, message] = describeClientError(code)
  const body = JSON.stringify(toErrorBody(new NimbusError('invalid_request', message)))
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Type: ${JSON_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

function describeClientError(code: string | undefined): [number, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, 'the request did not arrive in time']
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'the head of the request is too large']
  return [400, 'the request is not valid HTTP']
}
