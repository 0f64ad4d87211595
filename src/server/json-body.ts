/** Turns the bytes of a request body into a JSON value: valid UTF-8, bounded in depth, no prototype in disguise. */
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { NimbusError } from '../errors.js'

export const BODY_LIMIT_BYTES = 1024 * 1024

/** Above what any provider stores; what counts here is that no recursion downstream is ever given more. */
const MAX_BODY_DEPTH = 100

/** Makes JSON the only content type; a body of any other is refused. */
export function acceptJsonBodies(app: FastifyInstance): void {
  const parseSafely = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    // Clients send the content type with DELETE too, and no body.
    if (bytes.length === 0) {
      done(null, undefined)
      return
    }
    const fault = faultOf(bytes)
    if (fault !== undefined) {
      done(new NimbusError('invalid_request', `the body ${fault}`))
      return
    }
    const text = bytes.toString('utf8')
    void parseSafely(request, text, (error, value) => {
      if (error === null) done(null, value)
      else
        done(
          new NimbusError(
            'invalid_request',
            `the body ${isJson(text) ? 'holds a forbidden key' : 'is not valid JSON'}`,
          ),
        )
    })
  })
}

function faultOf(bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return 'is not valid UTF-8'
  if (exceedsDepth(bytes)) return `is nested deeper than ${MAX_BODY_DEPTH} levels`
  return undefined
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/** Counts brackets outside of strings; what it says about malformed JSON does not matter. */
function exceedsDepth(bytes: Buffer): boolean {
  let depth = 0
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]
    if (byte === QUOTE) index = endOfString(bytes, index)
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
    if (depth > MAX_BODY_DEPTH) return true
  }
  return false
}

function endOfString(bytes: Buffer, start: number): number {
  let index = start + 1
  while (index < bytes.length && bytes[index] !== QUOTE) index += bytes[index] === BACKSLASH ? 2 : 1
  return index
}

/** Tells a forbidden key (`__proto__`, `constructor.prototype`) from a syntax error; only on the way to a refusal. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
