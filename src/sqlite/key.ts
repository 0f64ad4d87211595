/** The key of a database, on its way into native memory. */
import { library, optionOf } from '../native.js'

/** What native code is told when a file is opened. */
export interface OpenFlags {
  readonly readonly: boolean
  readonly mustExist: boolean
  readonly exclusive: boolean
  readonly timeout: number
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

/** The key that options name, if they do. */
export function keyOf(options: object): DatabaseKey | undefined {
  const bytes = optionOf(options, 'key')
  const profile = 'profile' in options ? optionOf(options, 'profile') : 'sqlcipher-4'
  if (profile !== 'sqlcipher-4' && profile !== 'sqlcipher-4-sha256') {
    throw new TypeError('Expected the "profile" option to be "sqlcipher-4" or "sqlcipher-4-sha256"')
  }
  if (bytes === undefined) {
    for (const name of ['profile', 'wipeKey']) {
      if (name in options) throw new TypeError(`The "${name}" option needs the "key" option`)
    }
    return undefined
  }
  if (!(bytes instanceof Uint8Array) || bytes.length !== KEY_BYTES) {
    throw new TypeError('Expected the "key" option to be a Uint8Array of 32 bytes')
  }
  return { bytes, profile }
}

/** Opens a file: a handle. */
export function openNative(
  path: string,
  { readonly, mustExist, exclusive, timeout }: OpenFlags,
  key: DatabaseKey | undefined,
  serialized: Buffer | undefined,
): number {
  const flags =
    (readonly ? READ_ONLY : 0) |
    (mustExist ? MUST_EXIST : 0) |
    (exclusive ? EXCLUSIVE : 0) |
    (key?.profile === 'sqlcipher-4-sha256' ? SHA256 : 0)
  return library.open(path, flags, timeout, key?.bytes, undefined, serialized)
}
