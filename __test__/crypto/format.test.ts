/**
 * A second implementation of the key hierarchy, from the formulas in docs/format.md alone: what the addon wraps, it
 * opens, and what the addon derives, it derives. It shares no code with the addon but the published algorithms.
 */
import { gcmsiv } from '@noble/ciphers/aes.js'
import { createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { Dek, knownAnswers, readMasterKeyFile } from '../../src/native.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'

const DESCRIPTOR = 'db:sqlite:tenant:demo:demo.sqlite3'
const HEADER = Buffer.from('{"format":"nimbus-enc","version":1}')

describe('what the addon made is read by the formulas', () => {
  it('a key id is derived from the master key', () => {
    const { bytes, key } = masterKey()
    expect(key.keyId).toBe(derive(bytes, [], 'nimbus/v1/master-key/id', [], 16).toString('hex'))
  })

  it('a wrapped DEK opens, and commitment and manifest code follow from it', () => {
    const { bytes, key } = masterKey()
    const [salt, fileId, message] = [randomBytes(32), randomBytes(16), randomBytes(300)]
    const dek = Dek.generate()
    const wrapped = key.wrappingKey(salt, DESCRIPTOR).wrap(dek, HEADER)

    const opened = unwrap(wrapped, wrappingSecret(bytes, salt, DESCRIPTOR))

    expect(opened).toHaveLength(32)
    expect(hex(dek.commitment(salt))).toBe(hex(derive(opened, salt, 'nimbus/v1/dek/commitment', [])))
    const macKey = derive(opened, [], 'nimbus/v1/dek/manifest-mac', fileId)
    expect(hex(dek.mac(fileId, message))).toBe(createHmac('sha256', macKey).update(message).digest('hex'))
  })
})

describe('what the formulas made is read by the addon', () => {
  it('a DEK wrapped by hand opens', () => {
    const { bytes, key } = masterKey()
    const [salt, secretBytes] = [randomBytes(32), randomBytes(32)]
    const wrapped = wrap(secretBytes, wrappingSecret(bytes, salt, DESCRIPTOR))

    const unwrapped = key.wrappingKey(salt, DESCRIPTOR).unwrap(wrapped, HEADER)

    if (unwrapped.outcome !== 'opened') return expect.fail(unwrapped.outcome)
    expect(hex(unwrapped.dek.commitment(salt))).toBe(hex(derive(secretBytes, salt, 'nimbus/v1/dek/commitment', [])))
  })

  it('random messages are sealed and opened alike', () => {
    for (const length of [0, 1, 15, 16, 17, 31, 32, 33, 1000, 4096]) {
      const [key, nonce, aad, plaintext] = [
        randomBytes(32),
        randomBytes(12),
        randomBytes(length % 50),
        randomBytes(length),
      ]
      const sealed = gcmsiv(key, nonce, aad).encrypt(plaintext)
      expect(hex(knownAnswers.aes256GcmSivSeal(key, nonce, aad, plaintext))).toBe(hex(sealed))
      expect(hex(knownAnswers.aes256GcmSivOpen(key, nonce, aad, sealed) ?? [])).toBe(hex(plaintext))
    }
  })
})

function masterKey() {
  const bytes = randomBytes(32)
  return { bytes, key: readMasterKeyFile(writeIn(temporaryDirectory(), 'master.key', bytes, 0o400)).key }
}

function wrappingSecret(master: Uint8Array, salt: Uint8Array, descriptor: string): Buffer {
  return derive(master, salt, 'nimbus/v1/master-key/wrapping-key', Buffer.from(descriptor))
}

function wrap(dek: Uint8Array, secret: Uint8Array): Buffer {
  const nonce = randomBytes(12)
  const sealed = gcmsiv(encryptionKey(secret), nonce, HEADER).encrypt(dek)
  return Buffer.concat([commitment(secret), nonce, sealed])
}

function unwrap(wrapped: Uint8Array, secret: Uint8Array): Uint8Array {
  expect(wrapped).toHaveLength(92)
  expect(hex(wrapped.subarray(0, 32))).toBe(hex(commitment(secret)))
  return gcmsiv(encryptionKey(secret), wrapped.slice(32, 44), HEADER).decrypt(wrapped.slice(44))
}

function encryptionKey(secret: Uint8Array): Buffer {
  return derive(secret, [], 'nimbus/v1/wrapping-key/encryption', [])
}

function commitment(secret: Uint8Array): Buffer {
  return derive(secret, [], 'nimbus/v1/wrapping-key/commitment', [])
}

/** HKDF-SHA256; info = length (u64, big-endian) and bytes of the label, then of the context. */
function derive(
  secret: Uint8Array,
  salt: Uint8Array | [],
  label: string,
  context: Uint8Array | [],
  bytes = 32,
): Buffer {
  const info = Buffer.concat([Buffer.from(label), Uint8Array.from(context)].flatMap((part) => [length(part), part]))
  return Buffer.from(hkdfSync('sha256', secret, Uint8Array.from(salt), info, bytes))
}

function length(part: Uint8Array): Buffer {
  const encoded = Buffer.alloc(8)
  encoded.writeBigUInt64BE(BigInt(part.length))
  return encoded
}

function hex(bytes: ArrayLike<number>): string {
  return Buffer.from(Array.from(bytes)).toString('hex')
}
