/**
 * The life of a protected file: announced, made, served, and taken away again, each step durable before the next begins.
 *
 * The manifest is written before the first byte of data and removed after the last, so nothing on the disk is ever
 * encrypted under a key that no manifest holds. Callers hold the lock of the file or of its directory.
 *
 * | stopped after           | on the disk                                   | the next start (`settle.ts`)      |
 * |-------------------------|-----------------------------------------------|-----------------------------------|
 * | `createProtected`       | manifest `creating`                           | removes the manifest              |
 * | the caller makes data   | manifest `creating`, data, whole or in part   | removes the data, then the manifest |
 * | `markActive`            | manifest `active`, data                       | serves it                         |
 * | `markDeleting`          | manifest `deleting`, data                     | removes the data, then the manifest |
 * | `removeProtected`: data | manifest `deleting`, data in part or none     | removes the rest, then the manifest |
 * | `removeProtected`       | nothing                                       | knows no such file                |
 *
 * A creation is acknowledged after `markActive` and not before; a deletion counts from `markDeleting` on.
 *
 * What "data" is: of SQLite the file and its `-wal`, `-shm` and `-journal`, any of which may be there without the others; of redb
 * the file, which comes under its name by a rename when it is whole, and until then `<file>.creating` or `<file>.rotating`.
 */
import { NimbusError } from '../errors.js'
import { type Profile, cipherOfFamily, cipherOfProfile } from '../keys/profile.js'
import type { DekBinding } from '../keys/binding.js'
import type { KeyProvider, NewDek } from '../keys/provider.js'
import { type FileSubject, describe } from '../keys/subject.js'
import { encodeBody, encodeManifest } from '../manifest/encode.js'
import { type Disk, exists, manifestPathOf, nativeDisk, readManifest, staleManifestPathOf } from '../manifest/file.js'
import type { Manifest, SettledManifest, State } from '../manifest/manifest.js'
import { type Dek, randomBytes } from '../native.js'
import { type Protected, protectedFile, unlock } from './unlock.js'

export type { Protected } from './unlock.js'

const OF_SQLITE = ['-wal', '-shm', '-journal']
/** A redb file on the way to its own name (crates/redb, engine/database.rs and rotate.rs). */
const UNPUBLISHED_SUFFIXES = ['.creating', '.rotating']
const SUFFIXES_OF_FAMILY = {
  sqlite_tenant: OF_SQLITE,
  // libSQL's client keeps there how far it has come with its primary; without them it begins anew.
  libsql_cache: [...OF_SQLITE, '-client_wal_index', '-info'],
  redb_tenant: UNPUBLISHED_SUFFIXES,
  control_plane: UNPUBLISHED_SUFFIXES,
} as const satisfies Record<FileSubject['family'], readonly string[]>

/**
 * A new file's DEK and manifest, in state `creating`. The caller then makes the data under `dek` and `fileId`, durable and, of
 * SQLite, with its first page in the file itself, and calls `markActive`; or gives up with `removeProtected`.
 *
 * @throws `target_exists` if the file, its WAL or journal, or its manifest is there; what the provider throws. Nothing is written then.
 */
export async function createProtected(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
  profile: Profile,
  disk: Disk = nativeDisk,
): Promise<Protected> {
  const binding = newBinding(subject, profile)
  for (const part of publishedFilesOf(path, subject.family)) if (await exists(part)) throw targetExists(part)
  return announce(path, binding, provider.kind, await provider.newDek(binding), disk)
}

/** What a new file's DEK is bound to. */
export function newBinding(subject: FileSubject, profile: Profile): DekBinding {
  if (cipherOfProfile(profile) !== cipherOfFamily(subject.family)) {
    throw new TypeError(`profile ${profile} does not fit ${describe(subject)}`)
  }
  return { subject, profile, generation: 1n, fileId: randomBytes(16), salt: randomBytes(32) }
}

/** Nobody opens what was never published; a creation takes its place. */
export function publishedFilesOf(path: string, family: FileSubject['family']): string[] {
  return dataFilesOf(path, family).filter((part) => !UNPUBLISHED_SUFFIXES.some((suffix) => part.endsWith(suffix)))
}

/** Writes the manifest `creating`, durably. @throws `target_exists`, what the disk throws; the DEK is closed then */
export function announce(
  path: string,
  binding: DekBinding,
  kind: string,
  { dek, keyId, hint, wrapped }: NewDek,
  disk: Disk,
): Protected {
  try {
    const { subject, profile, generation, fileId, salt } = binding
    const commitment = dek.commitment(salt)
    const manifest: SettledManifest = {
      subject,
      profile,
      state: 'creating',
      createdAt: new Date().toISOString(),
      rotatedAt: null,
      current: { generation, fileId, provider: kind, hint, keyId, salt, commitment, wrapped },
      next: null,
    }
    const manifestPath = manifestPathOf(path)
    if (!disk.createFileExclusive(manifestPath, sealed(manifest, dek))) throw targetExists(manifestPath)
    return protectedFile(path, manifest, dek)
  } catch (error) {
    dek.close()
    throw error
  }
}

/**
 * The file with its DEK, ready to be served. Reads the manifest only, so it may be called while the file is open.
 *
 * @throws what `unlock` throws; `manifest_missing`; `data_missing` for a file that is being created or deleted;
 * `file_busy` while a rotation is pending.
 */
export async function openProtected(path: string, subject: FileSubject, provider: KeyProvider): Promise<Protected> {
  const file = await unlock(path, subject, provider)
  if (file === undefined) throw manifestMissing(path)
  return requireActive(file)
}

/** @throws `data_missing`, `file_busy` as `openProtected`; the DEK is closed then */
export function requireActive(file: Protected): Protected {
  const { path } = file
  if (file.manifest.state === 'active') return file
  file.dek.close()
  if (file.manifest.state === 'rotating') throw rotationPending(path)
  throw new NimbusError('data_missing', `${path} is not there to be opened: it is ${file.manifest.state}`, {
    path,
    remediation: 'Start the server: it finishes interrupted creations and deletions.',
  })
}

/**
 * The manifest of a copy under the same DEK, in state `creating`. The DEK stays whose it was.
 *
 * @throws `target_exists`, what the disk throws.
 */
export function announceCopy(original: Protected, path: string, disk: Disk = nativeDisk): Protected {
  const manifest: SettledManifest = { ...original.manifest, state: 'creating', next: null }
  const manifestPath = manifestPathOf(path)
  if (!disk.createFileExclusive(manifestPath, sealed(manifest, original.dek))) throw targetExists(manifestPath)
  return protectedFile(path, manifest, original.dek)
}

/** The data is complete and durable: from now on the file must exist. */
export async function markActive(file: Protected, disk: Disk = nativeDisk): Promise<Protected> {
  return activate(file, disk)
}

/** The same for callers who cannot wait. */
export function activate(file: Protected, disk: Disk = nativeDisk): Protected {
  requireState(file, ['creating'])
  return rewrite(file, 'active', disk)
}

/**
 * From now on nobody opens the file again, and its removal will be finished by whoever comes next.
 *
 * @throws `io_error`, `disk_full`: after an `io_error` it may have taken effect, so nothing more may be written to the file.
 */
export async function markDeleting(file: Protected, disk: Disk = nativeDisk): Promise<Protected> {
  requireState(file, ['active', 'creating'])
  return rewrite(file, 'deleting', disk)
}

/**
 * Takes a file away that is `creating` or `deleting`: its data, then its manifest. Closes its DEK when all is gone; may be
 * called again after an error. The caller has closed the database.
 */
export async function removeProtected(file: Protected, disk: Disk = nativeDisk): Promise<void> {
  requireState(file, ['creating', 'deleting'])
  // A `markActive` that failed in its last step has taken effect on the disk: an active file may not lack its data.
  if (file.manifest.state === 'creating' && (await stateOnDisk(file)) === 'active') rewrite(file, 'deleting', disk)
  removeParts(file, disk)
  file.dek.close()
}

/** Of a manifest that was just read: the data, then the manifest. */
export function removeParts(file: Protected, disk: Disk = nativeDisk): void {
  requireState(file, ['creating', 'deleting'])
  for (const part of dataFilesOf(file.path, file.manifest.subject.family)) disk.removeFileDurably(part)
  disk.removeFileDurably(staleManifestPathOf(file.path))
  disk.removeFileDurably(manifestPathOf(file.path))
}

/** Everything that may hold data of the file. A stale WAL or journal would be replayed into a new file of that name. */
export function dataFilesOf(path: string, family: FileSubject['family']): string[] {
  const suffixes = SUFFIXES_OF_FAMILY[family]
  return [path, ...suffixes.map((suffix) => path + suffix)]
}

export function manifestMissing(path: string, remediation?: string): NimbusError {
  return new NimbusError('manifest_missing', `sidecar manifest is missing: ${path}`, { path, remediation })
}

export function rotationPending(path: string): NimbusError {
  return new NimbusError('file_busy', `a key rotation is pending for ${path}`, {
    path,
    remediation: 'Start the server, or repeat the command that was interrupted: either settles the file first.',
  })
}

async function stateOnDisk(file: Protected): Promise<State | undefined> {
  return (await readManifest(manifestPathOf(file.path)))?.manifest.state
}

function rewrite(file: Protected, state: SettledManifest['state'], disk: Disk): Protected {
  const manifest: SettledManifest = { ...file.manifest, state, next: null }
  disk.replaceFile(manifestPathOf(file.path), sealed(manifest, file.dek))
  return protectedFile(file.path, manifest, file.dek)
}

/** The bytes of a manifest, under the MAC of its `current` DEK. */
export function sealed(manifest: Manifest, dek: Dek): Uint8Array {
  const body = encodeBody(manifest)
  return encodeManifest(body, dek.mac(manifest.current.fileId, body))
}

function requireState(file: Protected, states: readonly string[]): void {
  if (states.includes(file.manifest.state)) return
  throw new TypeError(`${file.path} is ${file.manifest.state}, not ${states.join(' or ')}`)
}

export function targetExists(path: string): NimbusError {
  return new NimbusError('target_exists', `${path} exists already`, { path })
}
