/** What the disk shows of one file, without a key and without a lock; nothing of it is authenticated. */
import { lstat } from 'node:fs/promises'
import { NimbusError, fromSystemError, systemErrorCode } from '../errors.js'
import { type Cipher, cipherOfProfile } from '../keys/profile.js'
import { type FileSubject, describe } from '../keys/subject.js'
import { manifestPathOf, readManifest } from '../manifest/file.js'
import type { Manifest, State } from '../manifest/manifest.js'
import type { KvStats } from '../native.js'
import { type Contents, bearsFileId, contentsOf, readFileHead } from './head.js'

export type EncryptedFamily = 'embedded_sqlite' | 'embedded_redb' | 'libsql_replica_cache' | 'control_plane_redb'

export type FileState =
  | 'encrypted'
  | 'plaintext'
  | 'manifest_missing'
  | 'data_missing'
  | 'rotation_pending'
  | 'plaintext_left_behind'
  | 'unreadable'

/** One entry of `files`, in the form in which it goes over HTTP and to stdout; null is "not known". */
export interface FileStatus {
  readonly path: string
  readonly family: EncryptedFamily | null
  readonly state: FileState
  readonly subject: string | null
  readonly cipher: Cipher | null
  readonly profile: string | null
  readonly provider: string | null
  readonly key_id: string | null
  /** A u64 in decimal. */
  readonly generation: string | null
  readonly created_at: string | null
  readonly rotated_at: string | null
  readonly verified_at: string | null
  readonly size_bytes: number | null
  /** Of a redb file that this process has open. */
  readonly open?: OpenFile
  readonly note?: string
}

/** What the handle of an open redb file knows of it; null of a plain one. */
export interface OpenFile {
  /** In hex. */
  readonly file_id: string | null
  /** Of the newest durable commit. */
  readonly epoch: number | null
  /** Whether opening it set a commit aside that had not finished. */
  readonly rolled_back: boolean | null
  /** Pages of 4,096 bytes, used or free. */
  readonly pages: number
  /** The whole file, with what nimbus adds to the pages. */
  readonly file_bytes: number
}

/** What the control plane compares with what it saw before: of an encrypted file, what its manifest says. */
export type SeenFile = Pick<FileStatus, 'subject' | 'state' | 'generation' | 'created_at' | 'rotated_at' | 'key_id'>

export interface StatusOptions {
  /** Whose file it should be, as far as its name tells. */
  readonly expected?: FileSubject | undefined
  /**
   * The file is served by this process, in this form. Then only its size is asked for: opening and closing it would drop
   * the locks that SQLite holds on it.
   */
  readonly served?: 'encrypted' | 'plaintext' | undefined
}

/** Never throws for what it finds: a file that cannot be read or understood is `unreadable`, with a note. */
export async function readFileStatus(path: string, options: StatusOptions = {}): Promise<FileStatus> {
  const { expected } = options
  const entry = { ...NOTHING_KNOWN, path, family: familyOf(expected), subject: expected ? describe(expected) : null }
  try {
    const sizeBytes = await sizeOf(path)
    const found = { ...entry, size_bytes: sizeBytes }
    const stored = await readManifest(manifestPathOf(path))
    const head = await headOf(path, options, sizeBytes)
    return stored === undefined
      ? { ...found, ...withoutManifest(head, options) }
      : { ...found, ...withManifest(stored.manifest, head, options) }
  } catch (error) {
    if (!(error instanceof NimbusError)) throw error
    return { ...entry, state: 'unreadable', note: error.message }
  }
}

/** `manifest` is left out if the file is plain. */
export function seenFile(subject: FileSubject, manifest: Manifest | undefined): SeenFile {
  if (manifest === undefined) return { ...NOTHING_KNOWN, subject: describe(subject), state: 'plaintext' }
  const { createdAt, rotatedAt, current } = manifest
  return {
    subject: describe(subject),
    state: 'encrypted',
    generation: current.generation.toString(),
    created_at: createdAt,
    rotated_at: rotatedAt,
    key_id: current.keyId,
  }
}

export function openFileOf({ pages, fileBytes, sealed }: KvStats): OpenFile {
  return {
    file_id: sealed === undefined ? null : Buffer.from(sealed.fileId).toString('hex'),
    epoch: sealed?.epoch ?? null,
    rolled_back: sealed?.rolledBack ?? null,
    pages,
    file_bytes: fileBytes,
  }
}

export function familyOf(subject: FileSubject): EncryptedFamily
export function familyOf(subject: FileSubject | undefined): EncryptedFamily | null
export function familyOf(subject: FileSubject | undefined): EncryptedFamily | null {
  return subject === undefined ? null : FAMILIES[subject.family]
}

const FAMILIES = {
  sqlite_tenant: 'embedded_sqlite',
  redb_tenant: 'embedded_redb',
  libsql_cache: 'libsql_replica_cache',
  control_plane: 'control_plane_redb',
} as const satisfies Record<FileSubject['family'], EncryptedFamily>

const NOTHING_KNOWN = {
  cipher: null,
  profile: null,
  provider: null,
  key_id: null,
  generation: null,
  created_at: null,
  rotated_at: null,
  verified_at: null,
  size_bytes: null,
} as const

interface Verdict {
  readonly state: FileState
  readonly note?: string
}

/** What is known of the data without its manifest: the bytes it begins with, or only how this process serves it. */
type Head = { readonly contents: Contents; readonly bytes: Uint8Array } | 'not_looked'

async function headOf(path: string, { served }: StatusOptions, sizeBytes: number | null): Promise<Head> {
  if (sizeBytes === null) return { contents: 'missing', bytes: new Uint8Array(0) }
  if (served !== undefined) return 'not_looked'
  const bytes = await readFileHead(path)
  return { contents: contentsOf(bytes), bytes: bytes ?? new Uint8Array(0) }
}

function withoutManifest(head: Head, { served }: StatusOptions): Verdict {
  if (head === 'not_looked') return { state: served === 'plaintext' ? 'plaintext' : 'manifest_missing' }
  switch (head.contents) {
    case 'missing':
      return { state: 'data_missing' }
    case 'plaintext':
      return { state: 'plaintext' }
    case 'empty':
      return { state: 'plaintext', note: 'the file is empty' }
    case 'truncated':
    case 'ciphertext':
      return { state: 'manifest_missing' }
  }
}

function withManifest(manifest: Manifest, head: Head, options: StatusOptions): Partial<FileStatus> & Verdict {
  const { current } = manifest
  return {
    family: familyOf(manifest.subject),
    subject: describe(manifest.subject),
    cipher: cipherOfProfile(manifest.profile),
    profile: manifest.profile,
    provider: current.provider,
    key_id: current.keyId,
    generation: current.generation.toString(),
    created_at: manifest.createdAt,
    rotated_at: manifest.rotatedAt,
    ...verdict(manifest, head, options),
  }
}

function verdict(manifest: Manifest, head: Head, { expected, served }: StatusOptions): Verdict {
  if (expected !== undefined && describe(expected) !== describe(manifest.subject)) {
    return { state: 'unreadable', note: `the manifest belongs to another file, expected ${describe(expected)}` }
  }
  if (head === 'not_looked') {
    if (served === 'plaintext')
      return { state: 'plaintext', note: 'a manifest lies beside it, but it is served as plaintext' }
    return withState(manifest.state)
  }
  switch (head.contents) {
    case 'missing':
      if (manifest.subject.family === 'libsql_cache') {
        return { state: 'encrypted', note: 'the cache is empty: it is rebuilt from the remote primary' }
      }
      return { ...withState(manifest.state), state: 'data_missing' }
    case 'plaintext':
      return { state: 'plaintext', note: 'a manifest lies beside it, but the file is plaintext' }
    case 'empty':
    case 'truncated':
      if (manifest.state === 'creating' || manifest.state === 'deleting') return withState(manifest.state)
      return { state: 'unreadable', note: 'the file was cut off' }
    case 'ciphertext':
      return belongsTo(manifest, head.bytes)
        ? withState(manifest.state)
        : { state: 'unreadable', note: 'it does not begin as the file that its manifest names' }
  }
}

function belongsTo({ profile, current, next }: Manifest, head: Uint8Array): boolean {
  const slots = next === null ? [current] : [current, next]
  return slots.some(({ fileId }) => bearsFileId(head, profile, fileId))
}

function withState(state: State): Verdict {
  switch (state) {
    case 'active':
      return { state: 'encrypted' }
    case 'creating':
      return { state: 'encrypted', note: 'it is being created; if no server runs, the next start removes it' }
    case 'deleting':
      return { state: 'encrypted', note: 'it is being deleted; if no server runs, the next start removes it' }
    case 'rotating':
      return { state: 'rotation_pending' }
  }
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await lstat(path)).size
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw fromSystemError(error, 'read', path)
  }
}
