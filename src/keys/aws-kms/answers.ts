/** Keeps data keys out of JavaScript's strings: native code lifts them out of the bytes of an answer, before anything parses it. */
import { Readable, addAbortSignal } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { NimbusError } from '../../errors.js'
import { type WrappingKey, takeKeyFromKmsAnswer, wipeStack } from '../../native.js'

/** The answers that hold a ciphertext have less than 10 KB. */
const MOST_BYTES = 64 * 1024

/**
 * Takes the data key out of the raw answer `response` of an HTTP handler, whose body then holds the rest for whoever parses it.
 * Nothing if there is none in it. Whatever it was read into is wiped, also when the answer was cut off.
 *
 * @throws `kms_unavailable` for an answer that is too long or no whole JSON object
 */
export async function takeKey(response: unknown, signal: AbortSignal): Promise<WrappingKey | undefined> {
  if (typeof response !== 'object' || response === null || !('body' in response)) throw unusable('has no body')
  const body = await collect(response.body, signal)
  const key = takeKeyFromKmsAnswer(body)
  response.body = body
  return key
}

async function collect(body: unknown, signal: AbortSignal): Promise<Uint8Array> {
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
    const whole = Buffer.alloc(length)
    let at = 0
    for (const chunk of chunks) at += chunk.copy(whole, at)
    return whole
  } finally {
    for (const chunk of chunks) chunk.fill(0)
    // Node reads a TLS record through its stack, in a call that has not returned before the event loop goes on.
    await setImmediate()
    wipeStack()
  }
}

function unusable(why: string): NimbusError {
  return new NimbusError('kms_unavailable', `the answer of the KMS ${why}`)
}
