/** A `DataKeyService` over the key box: all that nimbus needs of a KMS, an HSM or a key store that it does not know. */
import { connect } from 'node:net'
import { NimbusError } from '@nimbus/storage'

const MOST_BYTES = 256
const KEY_BYTES = 32
const NAME_BYTES = 20
const TIMEOUT_MS = 10_000

/**
 * @param {string} socketPath
 * @returns {import('@nimbus/storage').DataKeyService}
 */
export function keyBoxService(socketPath) {
  return {
    kind: 'key_box',
    hint: `key box at ${socketPath}`,
    describe: () => ({ provider: 'key_box', key_id: socketPath, region: null }),
    async health() {
      ;(await ask(socketPath, { op: 'generate', context: { health: 'check' } })).fill(0)
    },
    async generate(context) {
      const answer = await ask(socketPath, { op: 'generate', context })
      const blob = Uint8Array.from(answer.subarray(1 + KEY_BYTES, -NAME_BYTES))
      // The key stays where it was read to: nimbus copies it into native memory and wipes it there.
      return { keyId: nameIn(answer), blob, key: answer.subarray(1, 1 + KEY_BYTES) }
    },
    async open({ blob }, context) {
      const answer = await ask(socketPath, { op: 'open', context, blob: Buffer.from(blob).toString('hex') })
      switch (answer[0]) {
        case 0:
          return { outcome: 'opened', key: answer.subarray(1, 1 + KEY_BYTES) }
        case 2:
          return { outcome: 'other_key', ours: nameIn(answer) }
        default:
          return { outcome: 'altered' }
      }
    },
    close() {},
  }
}

/** @param {Buffer} answer */
function nameIn(answer) {
  return `key-box:${answer.subarray(-NAME_BYTES).toString('hex')}`
}

/**
 * The answer to one request. It is read straight into one buffer (`onread`): a socket that allocates for each read, or a
 * string, would leave copies of the key behind that nobody can wipe.
 *
 * @param {string} socketPath
 * @param {object} request
 * @returns {Promise<Buffer>}
 */
function ask(socketPath, request) {
  const answer = Buffer.alloc(MOST_BYTES)
  let length = 0
  return new Promise((resolve, reject) => {
    const fail = (/** @type {Error} */ cause) => {
      answer.fill(0)
      reject(new NimbusError('kms_unavailable', `the key box at ${socketPath} does not answer`, { cause }))
    }
    const socket = connect({
      path: socketPath,
      onread: {
        buffer: () => answer.subarray(length),
        callback: (bytes) => {
          length += bytes
          return length < MOST_BYTES
        },
      },
    })
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('timed out')))
    socket.once('error', fail)
    socket.once('end', () => (length === 0 ? fail(new Error('an empty answer')) : resolve(answer.subarray(0, length))))
    socket.end(JSON.stringify(request))
  })
}
