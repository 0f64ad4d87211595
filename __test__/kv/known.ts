/** A key that two processes know without telling each other. */
import type { KvEncryption } from '../../src/native.js'
import { handleOf } from '../support/independent-keys.js'

export const knownEncryption = (): KvEncryption => ({
  dek: handleOf(new Uint8Array(32).fill(3)),
  fileId: new Uint8Array(16).fill(5),
  generation: 1n,
})
