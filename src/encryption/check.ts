/** What a start demands of one file before it is served: its manifest, its key, and that the two belong to the data. */
import { NimbusError } from '../errors.js'
import { type Cipher, cipherOfFamily } from '../keys/profile.js'
import type { KeyProvider } from '../keys/provider.js'
import type { FileSubject } from '../keys/subject.js'
import { exists, manifestPathOf } from '../manifest/file.js'
import type { Manifest } from '../manifest/manifest.js'
import { bearsFileId, contentsOf, plaintextCipher, readFileHead } from './head.js'
import { manifestMissing } from './protect.js'
import { type SettleOptions, settle } from './settle.js'
import { type Protected, inspect, unlock } from './unlock.js'

/**
 * Checks a file with encryption on, and settles an interrupted creation, deletion or rotation of it. Opens the data file for its
 * first bytes: for use before the file is served, since closing any descriptor of it drops SQLite's locks.
 *
 * @returns the file with its open DEK, or `undefined` if it turned out not to exist any more.
 * @throws what `unlock` throws; `manifest_missing`, `data_missing`, `file_corrupt`; what `settle` throws. Nothing is written then.
 */
export async function checkProtected(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
  options: SettleOptions = {},
): Promise<Protected | undefined> {
  const file = await unlock(path, subject, provider)
  if (file === undefined) throw withoutManifest(path, subject, await readFileHead(path))
  try {
    const settled = await settle(file, provider, options)
    if (settled === undefined) return undefined
    try {
      requireFileId(path, settled.manifest, await readFileHead(path))
    } catch (error) {
      settled.dek.close()
      throw error
    }
    return settled
  } catch (error) {
    file.dek.close()
    throw error
  }
}

/**
 * Checks a file of a remote provider as far as that goes without its key: a start with a thousand files may not make a
 * thousand calls. Whoever opens the file authenticates the manifest then. Looks at the data file like `checkProtected`.
 *
 * @returns the manifest, or `undefined` if the file has to be settled, for which `checkProtected` asks for its key.
 * @throws what `inspect` throws; `manifest_missing`, `data_missing`, `file_corrupt`.
 */
export async function checkWithoutKey(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
): Promise<Manifest | undefined> {
  const manifest = await inspect(path, subject, provider)
  if (manifest === undefined) throw withoutManifest(path, subject, await readFileHead(path))
  if (manifest.state !== 'active') return undefined
  requireFileId(path, manifest, await readFileHead(path))
  return manifest
}

/**
 * Checks a file with encryption off.
 *
 * @throws `encrypted_but_disabled` naming its manifest, `file_corrupt` for bytes that are not a database of its kind. Nothing is written.
 */
export async function checkPlain(path: string, { family }: FileSubject): Promise<void> {
  const manifestPath = manifestPathOf(path)
  if (await exists(manifestPath)) {
    throw new NimbusError('encrypted_but_disabled', `${path} is encrypted, as its manifest says: ${manifestPath}`, {
      path: manifestPath,
    })
  }
  const head = await readFileHead(path)
  const cipher = cipherOfFamily(family)
  // SQLite makes a database of an empty file; redb's files are whole from the first moment.
  if (head === undefined || (head.length === 0 && cipher === 'sqlcipher')) return
  if (plaintextCipher(head) === cipher) return
  throw new NimbusError('file_corrupt', `${path} is not ${DATABASES[cipher]}, and it has no sidecar manifest`, {
    path,
    remediation: `If it was encrypted, restore ${manifestPath} from the backup and configure the key provider.`,
  })
}

const DATABASES = {
  sqlcipher: 'a SQLite database',
  'aes-256-gcm-siv': 'a redb database',
} as const satisfies Record<Cipher, string>

/** What to say of a file that should have a manifest; `head` is how it begins, the subject is whose it is, if that is known. */
export function withoutManifest(
  path: string,
  subject: FileSubject | undefined,
  head: Uint8Array | undefined,
): NimbusError {
  if (head === undefined) return nothingAt(path)
  const cipher = plaintextCipher(head)
  return manifestMissing(path, cipher === undefined ? restoreManifest(path) : migrate(path, cipher, subject))
}

/**
 * For a command, before it takes a lock: that leaves a file beside the path, and a mistyped one should get none.
 *
 * @throws `data_missing` if neither the file nor its manifest exists
 */
export async function requireFileOrManifest(path: string): Promise<void> {
  if (!(await exists(path)) && !(await exists(manifestPathOf(path)))) throw nothingAt(path)
}

function nothingAt(path: string): NimbusError {
  return new NimbusError('data_missing', `${path} does not exist, nor does a manifest of it`, {
    path,
    remediation: 'Correct the path, or restore the file and its manifest from the backup.',
  })
}

/** @throws `data_missing`, `file_corrupt` unless the file, which begins with `head`, is the one that the manifest names */
export function requireFileId(
  path: string,
  { subject, profile, current: { fileId } }: Manifest,
  head: Uint8Array | undefined,
): void {
  // A replica cache that is not there is rebuilt: it holds nothing of its own.
  if (head === undefined && subject.family === 'libsql_cache') return
  if (head === undefined) throw dataMissing(path)
  if (bearsFileId(head, profile, fileId)) return
  const contents = contentsOf(head)
  const what = {
    empty: 'it is empty',
    truncated: `it was cut off after ${head.length} bytes`,
    plaintext: 'it is plaintext, though its sidecar manifest says that it is encrypted',
    ciphertext: 'it does not begin as the file that its sidecar manifest names',
    missing: 'it is missing',
  }[contents]
  throw new NimbusError('file_corrupt', `file and manifest do not belong together: ${path}: ${what}`, {
    path,
    detail: { reason: contents },
  })
}

export function dataMissing(path: string): NimbusError {
  return new NimbusError('data_missing', `database file is missing: ${path}`, { path })
}

function migrate(path: string, cipher: Cipher, subject: FileSubject | undefined): string {
  if (subject?.family === 'libsql_cache') {
    return 'The file is a plaintext replica cache; remove it: it is rebuilt, encrypted, from the remote primary.'
  }
  const provider = (subject ? cipherOfFamily(subject.family) : cipher) === 'sqlcipher' ? 'sqlite' : 'redb'
  const id = subject === undefined ? '<id>' : 'tenant' in subject ? subject.tenant : undefined
  const tenant = id === undefined ? '' : ` --tenant-id ${id}`
  const command = `nimbus encryption migrate --source ${path} --provider ${provider}${tenant}`
  return `The file is plaintext; migrate it first: ${command}`
}

function restoreManifest(path: string): string {
  return `The file is not plaintext; restore ${manifestPathOf(path)} from the backup that holds it.`
}
