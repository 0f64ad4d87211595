/** What migrating and exporting have in common: the two files, and the copy of one into the other. */
import { NimbusError, type NimbusErrorCode } from '../errors.js'
import { cipherOfFamily, sqlcipherProfile } from '../keys/profile.js'
import type { KeyProvider } from '../keys/provider.js'
import type { FileSubject } from '../keys/subject.js'
import { StatementError, copyRedb, copySqlite } from '../native.js'
import { type Held, holdFile } from './hold.js'
import type { LongWork, Progress } from './progress.js'
import type { Protected } from './unlock.js'

export interface CopyOptions extends LongWork {
  readonly source: string
  readonly target: string
  readonly subject: FileSubject
  readonly keys: KeyProvider
}

/** A file that is copied; without `file` it is plain. */
export interface Side {
  readonly path: string
  readonly file?: Protected | undefined
}

/** Both files for this process alone. */
export function holdBoth(source: string, target: string): Held {
  const held = holdFile(source)
  try {
    const other = holdFile(target)
    return {
      release: () => {
        other.release()
        held.release()
      },
    }
  } catch (error) {
    held.release()
    throw error
  }
}

/** Copies the database, durably. What is at the target after a failure is the caller's to remove. */
export async function copyContents(
  source: Side,
  target: Side,
  validate: boolean,
  { subject, signal, onProgress }: CopyOptions,
): Promise<void> {
  const work = {
    validate,
    signal,
    onProgress: onProgress && ((progress: Progress) => onProgress(source.path, progress)),
  }
  if (cipherOfFamily(subject.family) === 'aes-256-gcm-siv') return copyRedb(redbFile(source), redbFile(target), work)
  try {
    await copySqlite(sqliteFile(source), sqliteFile(target), work)
  } catch (error) {
    if (!(error instanceof StatementError)) throw error
    throw new NimbusError('unsupported_for_provider', `cannot copy ${source.path}: ${error.message}`, {
      path: source.path,
      remediation:
        'Its schema needs what only its own program has, such as a collation: remove that from a copy first.',
      cause: error,
    })
  }
}

/** Replica caches are not copied but rebuilt. */
export function refuseCache({ family }: FileSubject, remediation: string): void {
  if (family !== 'libsql_cache') return
  const what = 'libSQL replica caches are not copied: they are rebuilt from the remote primary'
  throw new NimbusError('unsupported_for_provider', what, { remediation })
}

export function failure(code: NimbusErrorCode, path: string, what: string, remediation?: string): NimbusError {
  return new NimbusError(code, `${path} ${what}`, { path, remediation })
}

/** How databases of a family are called. */
export function databaseOf({ family }: FileSubject): string {
  return cipherOfFamily(family) === 'sqlcipher' ? 'a SQLite database' : 'a redb database'
}

function sqliteFile({ path, file }: Side) {
  if (file === undefined) return { path }
  const { dek, fileId, profile } = file
  return { path, encryption: { dek, fileId, profile: sqlcipherProfile(profile) } }
}

function redbFile({ path, file }: Side) {
  if (file === undefined) return { path }
  const { dek, fileId, manifest } = file
  return { path, encryption: { dek, fileId, generation: manifest.current.generation } }
}
