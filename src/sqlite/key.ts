/** The key of a database, on its way into native memory. */
import { type Dek, library, optionOf } from '../native.js'

/** What native code is told when a file is opened. */
export interface OpenFlags {
  readonly readonly: boolean
  readonly mustExist: boolean
  readonly exclusive: boolean
  readonly timeout: number
  /** Of a file whose manifest has just been written. */
  readonly isNew?: boolean
}

/** Of a file with a manifest. */
export interface BoundKey {
  readonly dek: Dek
  readonly fileId: Uint8Array
  readonly profile: DatabaseKey['profile']
}

export interface DatabaseKey {
  readonly bytes: Uint8Array
  readonly profile: 'sqlcipher-4' | 'sqlcipher-4-sha256'
}

const KEY_BYTES = 32
const READ_ONLY = 1
const MUST_EXIST = 2
const EXCLUSIVE = 4
const SHA256 = 8
const CREATE = 16

/** The key that options name, if they do. */
export function keyOf(options: object): DatabaseKey | undefined {
  const bytes = optionOf(options, 'key')
  const profile = profileOf(options)
  const hasProvider = optionOf(options, 'keyProvider') !== undefined
  if (bytes !== undefined && hasProvider) throw new TypeError('Give "key" or "keyProvider", not both')
  if (bytes === undefined) {
    for (const name of ['profile', 'wipeKey']) {
      if (name in options && !(hasProvider && name === 'profile'))
        throw new TypeError(`The "${name}" option needs the "key" option`)
    }
    return undefined
  }
  if (!(bytes instanceof Uint8Array) || bytes.length !== KEY_BYTES) {
    throw new TypeError('Expected the "key" option to be a Uint8Array of 32 bytes')
  }
  return { bytes, profile }
}

/** The page format that options name, or the usual one. */
export function profileOf(options: object): DatabaseKey['profile'] {
  const profile = 'profile' in options ? optionOf(options, 'profile') : 'sqlcipher-4'
  if (profile === 'sqlcipher-4' || profile === 'sqlcipher-4-sha256') return profile
  throw new TypeError('Expected the "profile" option to be "sqlcipher-4" or "sqlcipher-4-sha256"')
}

/** Opens a file: a handle. */
export function openNative(
  path: string,
  { readonly, mustExist, exclusive, timeout, isNew }: OpenFlags,
  key: DatabaseKey | BoundKey | undefined,
  serialized: Buffer | undefined,
): number {
  const flags =
    (readonly ? READ_ONLY : 0) |
    (mustExist ? MUST_EXIST : 0) |
    (exclusive ? EXCLUSIVE : 0) |
    (isNew === true ? CREATE : 0) |
    (key?.profile === 'sqlcipher-4-sha256' ? SHA256 : 0)
  if (key !== undefined && 'dek' in key) return library.open(path, flags, timeout, key.dek, key.fileId, serialized)
  return library.open(path, flags, timeout, key?.bytes, undefined, serialized)
}
