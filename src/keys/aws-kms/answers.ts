/** Keeps DEKs out of JavaScript's strings: they are lifted out of answers, and put into requests, as bytes and by native code. */
import { Readable, addAbortSignal } from 'node:stream'
import { NimbusError } from '../../errors.js'
import { type Dek, putDekIntoKmsRequest, takeDekFromKmsAnswer } from '../../native.js'

/** The answers that hold a ciphertext have less than 10 KB. */
const MOST_BYTES = 64 * 1024

/**
 * Takes the DEK out of the raw answer `response` of an HTTP handler, whose body then holds the rest for whoever parses it.
 * Nothing if there is none in it. Whatever it was read into is wiped, also when the answer was cut off.
 *
 * @throws `kms_unavailable` for an answer that is too long or no whole JSON object
 */
export async function takeDek(response: unknown, signal: AbortSignal): Promise<Dek | undefined> {
  if (typeof response !== 'object' || response === null || !('body' in response)) throw unusable('has no body')
  const body = await collect(response.body, signal)
  const dek = takeDekFromKmsAnswer(body)
  response.body = body
  return dek
}

/**
 * Puts the DEK in the place of 32 zero bytes in the JSON body of `request`, which is bytes from then on: the ones returned, for
 * the caller to wipe.
 */
export function putDek(request: unknown, dek: Dek): Uint8Array {
  if (typeof request !== 'object' || request === null || !('body' in request)) throw new TypeError('not a request')
  const { body } = request
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) throw new TypeError('a request to a KMS has a body')
  // Not `Buffer.from`: the SDK's bytes have a `valueOf` that makes a string of them.
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : new Uint8Array(body)
  putDekIntoKmsRequest(dek, bytes)
  request.body = bytes
  return bytes
}

async function collect(body: unknown, signal: AbortSignal): Promise<Buffer> {
  if (!(body instanceof Readable)) throw unusable('has no body')
  addAbortSignal(signal, body)
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of body) {
      if (!Buffer.isBuffer(chunk)) throw unusable('is not made of bytes')
      chunks.push(chunk)
      length += chunk.length
      if (length > MOST_BYTES) throw unusable(`is longer than ${MOST_BYTES} bytes`)
    }
    return Buffer.concat(chunks)
  } finally {
    // A chunk is a view of what the socket was read into: wipe all of that.
    for (const { buffer } of chunks) new Uint8Array(buffer).fill(0)
  }
}

function unusable(why: string): NimbusError {
  return new NimbusError('kms_unavailable', `the answer of the KMS ${why}`)
}
