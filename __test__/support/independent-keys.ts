/** docs/format.md a second time, on other libraries: derives and wraps known keys, so that tests can hold both ends. */
import { hkdfSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gcmsiv } from '@noble/ciphers/aes.js'
import { readMasterKeyFile, type Dek } from '../../src/native.js'

const prefixed = (part: Uint8Array): Buffer => {
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(part.length))
  return Buffer.concat([length, part])
}

/** HKDF-SHA256 (RFC 5869) with `info` = length-prefixed label and context. */
export function derive(
  secret: Uint8Array,
  salt: Uint8Array,
  label: string,
  context: Uint8Array = new Uint8Array(),
): Buffer {
  const info = Buffer.concat([prefixed(Buffer.from(`nimbus/v1/${label}`)), prefixed(context)])
  return Buffer.from(hkdfSync('sha256', secret, salt, info, 32))
}

const NO_SALT = new Uint8Array()

/** Wraps `dek` as nimbus does: commitment, nonce, ciphertext, tag. */
export function wrapIndependently(
  masterKey: Uint8Array,
  salt: Uint8Array,
  descriptor: string,
  dek: Uint8Array,
  header: Uint8Array,
): Buffer {
  const wrapping = derive(masterKey, salt, 'master-key/wrapping-key', Buffer.from(descriptor))
  const nonce = Buffer.from('twelve bytes')
  const encryption = derive(wrapping, NO_SALT, 'wrapping-key/encryption')
  const sealed = gcmsiv(encryption, nonce, header).encrypt(dek)
  return Buffer.concat([derive(wrapping, NO_SALT, 'wrapping-key/commitment'), nonce, sealed])
}

/** A native handle to a DEK whose bytes the test knows: wrapped here, unwrapped by nimbus. */
export function handleOf(dek: Uint8Array): Dek {
  const directory = mkdtempSync(join(tmpdir(), 'nimbus-known-dek-'))
  try {
    const masterKey = Buffer.from(Array.from({ length: 32 }, (_, index) => 200 + index))
    const path = join(directory, 'master.key')
    writeFileSync(path, masterKey, { mode: 0o400 })
    const salt = Buffer.alloc(32, 7)
    const header = Buffer.from('a header')
    const { key } = readMasterKeyFile(path)
    const unwrapped = key
      .wrappingKey(salt, 'db:test')
      .unwrap(wrapIndependently(masterKey, salt, 'db:test', dek, header), header)
    if (unwrapped.outcome !== 'opened') throw new Error(`the independent wrapping is ${unwrapped.outcome}`)
    return unwrapped.dek
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** The text of SQLCipher's `PRAGMA key`: raw key and, unless left out, salt. */
export function sqlcipherKeyText(dek: Uint8Array, fileId: Uint8Array, withSalt = true): string {
  const key = derive(dek, NO_SALT, 'dek/sqlcipher-key', fileId).toString('hex')
  return `x'${key}${withSalt ? Buffer.from(fileId).toString('hex') : ''}'`
}
