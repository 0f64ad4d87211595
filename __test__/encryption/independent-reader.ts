/**
 * A second reader, written from docs/format.md alone: Node's own HKDF, HMAC and AES, and another implementation of
 * AES-256-GCM-SIV. It imports nothing of ours, so a mistake would have to be made twice.
 */
import { createDecipheriv, createHmac, hkdfSync, pbkdf2Sync } from 'node:crypto'
import { gcmsiv } from '@noble/ciphers/aes.js'

export interface Read {
  /** What does not fit; none if all is well. */
  readonly problems: string[]
  /** The first page of the file in the clear, without the 16 bytes of the salt. */
  readonly firstPage: Buffer
}

export function independentlyOpen(manifestBytes: Buffer, masterKey: Buffer, page: Buffer): Read {
  const problems: string[] = []
  const demand = (what: string, one: Buffer, other: Buffer) => {
    if (!one.equals(other)) problems.push(what)
  }
  const line = manifestBytes.toString('utf8')
  const manifest = JSON.parse(line) as StoredMembers
  const slot = manifest.current
  const salt = Buffer.from(slot.salt, 'hex')
  const fileId = Buffer.from(slot.file_id, 'hex')
  const wrapped = Buffer.from(slot.wrapped, 'hex')

  // Section 3.2, and the wrap header of section 3.3.
  const secret = derive(masterKey, salt, 'nimbus/v1/master-key/wrapping-key', Buffer.from(manifest.subject), 32)
  demand('key id', derive(masterKey, NONE, 'nimbus/v1/master-key/id', NONE, 16), Buffer.from(slot.key_id, 'hex'))
  demand(
    'commitment of the wrapping key',
    derive(secret, NONE, 'nimbus/v1/wrapping-key/commitment', NONE, 32),
    wrapped.subarray(0, 32),
  )
  const { format, version, subject, cipher, profile } = manifest
  const { generation, file_id, provider, key_id, commitment } = slot
  const header = {
    format,
    version,
    subject,
    cipher,
    profile,
    generation,
    file_id,
    provider,
    key_id,
    salt: slot.salt,
    commitment,
  }
  const key = derive(secret, NONE, 'nimbus/v1/wrapping-key/encryption', NONE, 32)
  const siv = gcmsiv(key, wrapped.subarray(32, 44), Buffer.from(JSON.stringify(header)))
  const dek = Buffer.from(siv.decrypt(wrapped.subarray(44)))

  demand(
    'commitment of the DEK',
    derive(dek, salt, 'nimbus/v1/dek/commitment', NONE, 32),
    Buffer.from(commitment, 'hex'),
  )
  const body = line.slice(0, line.lastIndexOf(',"mac":"'))
  const macKey = derive(dek, NONE, 'nimbus/v1/dek/manifest-mac', fileId, 32)
  demand('MAC', createHmac('sha256', macKey).update(body, 'utf8').digest(), Buffer.from(manifest.mac, 'hex'))
  demand('file id', page.subarray(0, 16), fileId)

  const fileKey = derive(dek, NONE, 'nimbus/v1/dek/sqlcipher-key', fileId, 32)
  const firstPage = openFirstPage(fileKey, fileId, page, profile === 'sqlcipher-4' ? 'sha512' : 'sha256', demand)
  return { problems, firstPage }
}

type SlotMembers = Record<'generation' | 'file_id' | 'provider' | 'key_id' | 'salt' | 'commitment' | 'wrapped', string>

type StoredMembers = Record<'format' | 'subject' | 'cipher' | 'profile' | 'mac', string> & {
  version: number
  current: SlotMembers
}

const NONE = Buffer.alloc(0)

/** Section 3.1. */
function derive(from: Buffer, salt: Buffer, label: string, context: Buffer, count: number): Buffer {
  const part = (bytes: Buffer) => {
    const length = Buffer.alloc(8)
    length.writeBigUInt64BE(BigInt(bytes.length))
    return Buffer.concat([length, bytes])
  }
  const info = Buffer.concat([part(Buffer.from(label)), part(context)])
  return Buffer.from(hkdfSync('sha256', from, salt, info, count))
}

/** Section 6. */
function openFirstPage(
  key: Buffer,
  salt: Buffer,
  page: Buffer,
  hash: 'sha256' | 'sha512',
  demand: (what: string, one: Buffer, other: Buffer) => void,
): Buffer {
  const macBytes = hash === 'sha512' ? 64 : 32
  const reservedAt = page.length - 16 - macBytes
  const iv = page.subarray(reservedAt, reservedAt + 16)
  const macSalt = Buffer.from(salt.map((byte) => byte ^ 0x3a))
  const macKey = pbkdf2Sync(key, macSalt, 2, 32, 'sha512')
  const number = Buffer.from([1, 0, 0, 0])
  const mac = createHmac(hash, macKey)
    .update(page.subarray(16, reservedAt + 16))
    .update(number)
    .digest()
  demand('MAC of the first page', mac, page.subarray(reservedAt + 16))
  const aes = createDecipheriv('aes-256-cbc', key, iv).setAutoPadding(false)
  return Buffer.concat([aes.update(page.subarray(16, reservedAt)), aes.final()])
}
