/** What the first bytes of a database file say of it, without a key: nothing of it is authenticated. */
import { type Cipher, type Profile, cipherOfProfile } from '../keys/profile.js'
import { readHead, readHeadAtOnce } from '../manifest/file.js'

export type Contents = 'missing' | 'empty' | 'truncated' | 'plaintext' | 'ciphertext'

/** The first bytes of every SQLite database that is not encrypted (SQLite file format, "The Database Header"). */
const SQLITE_HEADER = Buffer.from('SQLite format 3\0', 'latin1')
/** Likewise for redb (its design document, "Super-header"). */
const REDB_MAGIC = Buffer.from('redb\x1a\n\xa9\r\n', 'latin1')
/** The superblock of a sealed redb file: docs/format.md, "The superblock". */
const SEALED_MAGIC = Buffer.from('NMBSRDB2', 'latin1')
const SEALED_ID_AT = 32

const FILE_ID_BYTES = 16
const BLOCK_BYTES = 4096
/** Where a file may bear its id: SQLCipher's salt once, a sealed file's superblock twice, of which either will do. */
const COPIES = {
  sqlcipher: [{ at: 0, magic: Buffer.alloc(0), idAt: 0 }],
  'aes-256-gcm-siv': [
    { at: 0, magic: SEALED_MAGIC, idAt: SEALED_ID_AT },
    { at: BLOCK_BYTES, magic: SEALED_MAGIC, idAt: BLOCK_BYTES + SEALED_ID_AT },
  ],
} as const satisfies Record<Cipher, readonly { at: number; magic: Buffer; idAt: number }[]>

/** As much as says whose file it is, whatever its cipher; `undefined` if there is no file. */
export async function readFileHead(path: string): Promise<Uint8Array | undefined> {
  return readHead(path, 2 * BLOCK_BYTES)
}

/** The same for callers who cannot wait. */
export function readFileHeadAtOnce(path: string): Uint8Array | undefined {
  return readHeadAtOnce(path, 2 * BLOCK_BYTES)
}

export function contentsOf(head: Uint8Array | undefined): Contents {
  if (head === undefined) return 'missing'
  if (head.length === 0) return 'empty'
  if (head.length < FILE_ID_BYTES) return 'truncated'
  return plaintextCipher(head) === undefined ? 'ciphertext' : 'plaintext'
}

/** The cipher that a plaintext database would be encrypted with: which of the two kinds of database it is. */
export function plaintextCipher(head: Uint8Array): Cipher | undefined {
  if (startsWith(head, 0, SQLITE_HEADER)) return 'sqlcipher'
  if (startsWith(head, 0, REDB_MAGIC)) return 'aes-256-gcm-siv'
  return undefined
}

/** Whether the file says that it is the one that a manifest of this profile names with `fileId`. */
export function bearsFileId(head: Uint8Array, profile: Profile, fileId: Uint8Array): boolean {
  return COPIES[cipherOfProfile(profile)].some(
    ({ at, magic, idAt }) => startsWith(head, at, magic) && startsWith(head, idAt, fileId),
  )
}

/** The ids that a sealed redb file bears, as far as its superblocks say; none if it is no such file. */
export function sealedFileIds(head: Uint8Array): Uint8Array[] {
  return COPIES['aes-256-gcm-siv']
    .filter(({ at, magic }) => startsWith(head, at, magic))
    .map(({ idAt }) => head.subarray(idAt, idAt + FILE_ID_BYTES))
    .filter((id) => id.length === FILE_ID_BYTES)
}

function startsWith(head: Uint8Array, at: number, bytes: Uint8Array): boolean {
  return Buffer.compare(head.subarray(at, at + bytes.length), bytes) === 0
}
