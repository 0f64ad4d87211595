/** Which cipher, with which parameters, a file of each family is written in. */
import type { FileSubject } from './subject.js'

export type Cipher = 'sqlcipher' | 'aes-256-gcm-siv'

/** The parameters of SQLCipher that a file was created with: they cannot be told from the file, so the manifest keeps them. */
export type SqlcipherProfile = 'sqlcipher-4' | 'sqlcipher-4-sha256'

/** `sealed-redb-1`: the layout of docs/format.md, "Sealed redb"; its own version stands in the superblock. */
export type Profile = SqlcipherProfile | 'sealed-redb-1'

const CIPHER_OF_PROFILE = {
  'sqlcipher-4': 'sqlcipher',
  'sqlcipher-4-sha256': 'sqlcipher',
  'sealed-redb-1': 'aes-256-gcm-siv',
} as const satisfies Record<Profile, Cipher>

const CIPHER_OF_FAMILY = {
  sqlite_tenant: 'sqlcipher',
  libsql_cache: 'sqlcipher',
  redb_tenant: 'aes-256-gcm-siv',
  control_plane: 'aes-256-gcm-siv',
} as const satisfies Record<FileSubject['family'], Cipher>

export function isProfile(text: string): text is Profile {
  return Object.hasOwn(CIPHER_OF_PROFILE, text)
}

export function cipherOfProfile(profile: Profile): Cipher {
  return CIPHER_OF_PROFILE[profile]
}

export function cipherOfFamily(family: FileSubject['family']): Cipher {
  return CIPHER_OF_FAMILY[family]
}

/** The profile of a file whose subject is known to be SQLite's: every manifest has been refused whose profile does not fit. */
export function sqlcipherProfile(profile: Profile): SqlcipherProfile {
  if (profile === 'sealed-redb-1') throw new TypeError(`${profile} is not a profile of SQLCipher`)
  return profile
}
