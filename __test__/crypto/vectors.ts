/** The published known-answer vectors, which the Rust tests read too (`crates/crypto/tests/known_answers.rs`). */
import { readFileSync } from 'node:fs'
import { Type, type TSchema, type Static } from 'typebox'
import { Value } from 'typebox/value'

export interface SealVector {
  /** Its number in the publication. */
  readonly id: number
  readonly key: Uint8Array
  readonly nonce: Uint8Array
  readonly aad: Uint8Array
  readonly plaintext: Uint8Array
  /** Ciphertext, then tag. */
  readonly sealed: Uint8Array
  readonly valid: boolean
}

export interface DeriveVector {
  /** Its number in the publication. */
  readonly id: number
  readonly ikm: Uint8Array
  readonly salt: Uint8Array
  readonly info: Uint8Array
  readonly bytes: number
  readonly okm: Uint8Array
  readonly valid: boolean
}

/** Every AES-256 vector of RFC 8452 appendix C. */
export function rfc8452(): SealVector[] {
  return fixture('rfc8452/aes-256-gcm-siv.json', Rfc8452).map((vector, index) => ({
    id: index + 1,
    key: hex(vector.key),
    nonce: hex(vector.nonce),
    aad: hex(vector.aad),
    plaintext: hex(vector.plaintext),
    sealed: hex(vector.result),
    valid: true,
  }))
}

/** Project Wycheproof's AES-GCM-SIV vectors for 256-bit keys. */
export function wycheproofGcmSiv(): SealVector[] {
  const groups = fixture('wycheproof/aes_gcm_siv_test.json', WycheproofGcmSiv).testGroups
  const tests = groups.filter((group) => group.keySize === 256).flatMap((group) => group.tests)
  return tests.map((test) => ({
    id: test.tcId,
    key: hex(test.key),
    nonce: hex(test.iv),
    aad: hex(test.aad),
    plaintext: hex(test.msg),
    sealed: hex(test.ct + test.tag),
    valid: test.result === 'valid',
  }))
}

/** Project Wycheproof's HKDF-SHA256 vectors. */
export function wycheproofHkdf(): DeriveVector[] {
  const groups = fixture('wycheproof/hkdf_sha256_test.json', WycheproofHkdf).testGroups
  return groups
    .flatMap((group) => group.tests)
    .map((test) => ({
      id: test.tcId,
      ikm: hex(test.ikm),
      salt: hex(test.salt),
      info: hex(test.info),
      bytes: test.size,
      okm: hex(test.okm),
      valid: test.result === 'valid',
    }))
}

const Result = Type.Union([Type.Literal('valid'), Type.Literal('invalid')])
const Named = { tcId: Type.Integer(), result: Result }

const Rfc8452 = Type.Array(
  Type.Object({
    key: Type.String(),
    nonce: Type.String(),
    aad: Type.String(),
    plaintext: Type.String(),
    result: Type.String(),
  }),
)

const WycheproofGcmSiv = Type.Object({
  testGroups: Type.Array(
    Type.Object({
      keySize: Type.Integer(),
      tests: Type.Array(
        Type.Object({
          ...Named,
          key: Type.String(),
          iv: Type.String(),
          aad: Type.String(),
          msg: Type.String(),
          ct: Type.String(),
          tag: Type.String(),
        }),
      ),
    }),
  ),
})

const WycheproofHkdf = Type.Object({
  testGroups: Type.Array(
    Type.Object({
      tests: Type.Array(
        Type.Object({
          ...Named,
          ikm: Type.String(),
          salt: Type.String(),
          info: Type.String(),
          size: Type.Integer(),
          okm: Type.String(),
        }),
      ),
    }),
  ),
})

function fixture<Schema extends TSchema>(name: string, schema: Schema): Static<Schema> {
  return Value.Parse(schema, JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')))
}

function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}
