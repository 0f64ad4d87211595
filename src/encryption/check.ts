/** What a start demands of one file before it is served: its manifest, its key, and that the two belong to the data. */
import { NimbusError } from '../errors.js'
import type { KeyProvider } from '../keys/provider.js'
import type { FileSubject } from '../keys/subject.js'
import { type Disk, exists, manifestPathOf, nativeDisk, readHead } from '../manifest/file.js'
import { manifestMissing } from './protect.js'
import { settle } from './settle.js'
import { type Protected, unlock } from './unlock.js'

/** The first bytes of every SQLite database that is not encrypted (SQLite file format, "The Database Header"). */
const SQLITE_HEADER = Buffer.from('SQLite format 3\0', 'latin1')
/** Likewise for redb (its design document, "Super-header"). */
const REDB_MAGIC = Buffer.from('redb\x1a\n\xa9\r\n', 'latin1')
const HEAD_BYTES = 16

export type Contents = 'missing' | 'empty' | 'truncated' | 'plaintext' | 'ciphertext'

/**
 * Checks a file with encryption on, and finishes an interrupted creation or deletion of it. Opens the data file for its
 * first 16 bytes: for use before the file is served, since closing any descriptor of it drops SQLite's locks.
 *
 * @returns the file with its open DEK, or `undefined` if it turned out not to exist any more.
 * @throws what `unlock` throws; `manifest_missing`, `data_missing`, `file_corrupt`; what `settle` throws. Nothing is written then.
 */
export async function checkProtected(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
  disk: Disk = nativeDisk,
): Promise<Protected | undefined> {
  const file = await unlock(path, subject, provider)
  if (file === undefined) throw await withoutManifest(path, subject)
  try {
    const settled = await settle(file, disk)
    if (settled !== undefined) requireFileId(path, await readHead(path, HEAD_BYTES), file.fileId)
    return settled
  } catch (error) {
    file.dek.close()
    throw error
  }
}

/**
 * Checks a SQLite file with encryption off.
 *
 * @throws `encrypted_but_disabled` naming its manifest, `file_corrupt` for bytes that are not a database. Nothing is written.
 */
export async function checkPlain(path: string): Promise<void> {
  const manifestPath = manifestPathOf(path)
  if (await exists(manifestPath)) {
    throw new NimbusError('encrypted_but_disabled', `${path} is encrypted, as its manifest says: ${manifestPath}`, {
      path: manifestPath,
    })
  }
  const contents = contentsOf(await readHead(path, HEAD_BYTES))
  if (contents !== 'ciphertext' && contents !== 'truncated') return
  throw new NimbusError('file_corrupt', `${path} is not a SQLite database, and it has no sidecar manifest`, {
    path,
    remediation: `If it was encrypted, restore ${manifestPath} from the backup and configure the key provider.`,
  })
}

/** What the first 16 bytes of a database file say of it. */
export function contentsOf(head: Uint8Array | undefined): Contents {
  if (head === undefined) return 'missing'
  if (head.length === 0) return 'empty'
  if (head.length < HEAD_BYTES) return 'truncated'
  const isPlain = SQLITE_HEADER.equals(head) || REDB_MAGIC.equals(head.subarray(0, REDB_MAGIC.length))
  return isPlain ? 'plaintext' : 'ciphertext'
}

async function withoutManifest(path: string, subject: FileSubject): Promise<NimbusError> {
  const contents = contentsOf(await readHead(path, HEAD_BYTES))
  if (contents === 'missing') return dataMissing(path)
  return manifestMissing(path, contents === 'plaintext' ? migrate(path, subject) : restoreManifest(path))
}

function requireFileId(path: string, head: Uint8Array | undefined, fileId: Uint8Array): void {
  const contents = contentsOf(head)
  if (head === undefined) throw dataMissing(path)
  if (Buffer.compare(head, fileId) === 0) return
  const what = {
    empty: 'it is empty',
    truncated: `it was cut off after ${head.length} bytes`,
    plaintext: 'it is plaintext, though its sidecar manifest says that it is encrypted',
    ciphertext: 'its first bytes are not those that its sidecar manifest names',
    missing: 'it is missing',
  }[contents]
  throw new NimbusError('file_corrupt', `file and manifest do not belong together: ${path}: ${what}`, {
    path,
    detail: { reason: contents },
  })
}

function dataMissing(path: string): NimbusError {
  return new NimbusError('data_missing', `database file is missing: ${path}`, { path })
}

function migrate(path: string, subject: FileSubject): string {
  const tenant = 'tenant' in subject ? ` --tenant-id ${subject.tenant}` : ''
  return `The file is plaintext; migrate it first: nimbus encryption migrate --source ${path} --provider sqlite${tenant}`
}

function restoreManifest(path: string): string {
  return `The file is not plaintext; restore ${manifestPathOf(path)} from the backup that holds it.`
}
