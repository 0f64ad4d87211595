/** The addon's ciphers against the published vectors, and the oracle of the other tests here against the same ones. */
import { gcmsiv } from '@noble/ciphers/aes.js'
import { hkdfSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { knownAnswers } from '../../src/native.js'
import { type DeriveVector, rfc8452, type SealVector, wycheproofGcmSiv, wycheproofHkdf } from './vectors.js'

const { aes256GcmSivOpen, aes256GcmSivSeal, hkdfSha256 } = knownAnswers

describe('AES-256-GCM-SIV of the addon', () => {
  it.each(rfc8452())('gives RFC 8452 vector $id', sealsAndOpens)
  it.each(wycheproofGcmSiv().filter((vector) => vector.valid))('gives Wycheproof vector $id', sealsAndOpens)
  it.each(wycheproofGcmSiv().filter((vector) => !vector.valid))('refuses Wycheproof vector $id', (vector) => {
    expect(aes256GcmSivOpen(vector.key, vector.nonce, vector.aad, vector.sealed)).toBeNull()
  })
})

describe('HKDF-SHA256 of the addon', () => {
  it.each(wycheproofHkdf().filter((vector) => vector.valid))('gives Wycheproof vector $id', derives)
  it.each(wycheproofHkdf().filter((vector) => !vector.valid))('refuses Wycheproof vector $id', (vector) => {
    const derive = () => hkdfSha256(vector.ikm, vector.salt, vector.info, vector.bytes)
    expect(derive).toThrow('8,160')
  })
})

describe('the independent implementations', () => {
  it.each([...rfc8452(), ...wycheproofGcmSiv()])('@noble/ciphers agrees on vector $id', (vector) => {
    const cipher = gcmsiv(vector.key, vector.nonce, vector.aad)
    if (vector.valid) {
      expect(cipher.encrypt(vector.plaintext)).toEqual(vector.sealed)
      expect(cipher.decrypt(vector.sealed)).toEqual(vector.plaintext)
    } else {
      expect(() => cipher.decrypt(vector.sealed)).toThrow()
    }
  })

  it.each(wycheproofHkdf().filter((vector) => vector.valid))('Node agrees on HKDF vector $id', (vector) => {
    const okm = hkdfSync('sha256', vector.ikm, vector.salt, vector.info, vector.bytes)
    expect(new Uint8Array(okm)).toEqual(vector.okm)
  })
})

it('no vector was lost on the way', () => {
  expect([rfc8452().length, wycheproofGcmSiv().length, wycheproofHkdf().length]).toEqual([26, 103, 86])
})

function sealsAndOpens(vector: SealVector): void {
  const { key, nonce, aad, plaintext, sealed } = vector
  expect(bytes(aes256GcmSivSeal(key, nonce, aad, plaintext))).toEqual(sealed)
  expect(bytes(aes256GcmSivOpen(key, nonce, aad, sealed))).toEqual(plaintext)
}

function derives(vector: DeriveVector): void {
  expect(bytes(hkdfSha256(vector.ikm, vector.salt, vector.info, vector.bytes))).toEqual(vector.okm)
}

/** As a plain array of bytes, whichever class the addon returned. */
function bytes(array: Uint8Array | null): Uint8Array | null {
  return array && Uint8Array.from(array)
}
