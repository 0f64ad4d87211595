/**
 * Another DEK for a file: every page is written anew under a key that did not exist before, of SQLite in place, of redb into a
 * file beside it that then takes the name.
 *
 * SQLite:
 *
 * | stopped after            | on the disk                                                    | the next start or command (`settle-rotation.ts`)   |
 * |--------------------------|----------------------------------------------------------------|----------------------------------------------------|
 * | the log is folded        | manifest `active`, file                                        | nothing to do                                      |
 * | manifest `rotating`      | both keys, file under `current`                                | undone                                             |
 * | the backup, in any part  | the same, `<file>.<rotation>.bak` and its manifest in part      | undone: the backup goes                            |
 * | the pages, in any part   | both keys, file under `current` once its journal is rolled back | undone                                             |
 * | SQLite's commit          | both keys, file under `next`                                   | finished                                           |
 * | the backup is published  | the same, `.bak` and its manifest, one or both new             | finished: the other follows                        |
 * | manifest `active`        | the new key alone, file under it                               | nothing to do                                      |
 *
 * redb:
 *
 * | stopped after            | on the disk                                                    | the next start or command                          |
 * |--------------------------|----------------------------------------------------------------|----------------------------------------------------|
 * | manifest `rotating`      | both keys, file under `current`                                | undone                                             |
 * | the backup, in any part  | the same, a second name of the file and its manifest in part    | undone: the backup goes                            |
 * | the pages, in any part   | the same, `<file>.rotating`, in part or whole                   | undone: it goes                                    |
 * | the rename               | both keys, file under `next`                                   | finished                                           |
 * | the backup is published  | the same, `.bak` and its manifest, one or both new             | finished: the other follows                        |
 * | manifest `active`        | the new key alone, file under it                               | nothing to do                                      |
 *
 * So nothing is ever under a key that no durable manifest holds, and the old key goes only when every page was seen to be
 * under the new one. SQLite's file id stays, since it is SQLCipher's salt, which stays (crates/sqlite, rekey.rs); the generation
 * is one more. Callers hold the lock of the file or of its directory.
 */
import { NimbusError, toNimbusError } from '../errors.js'
import type { KeyProvider } from '../keys/provider.js'
import type { FileSubject } from '../keys/subject.js'
import { type Disk, manifestPathOf, nativeDisk } from '../manifest/file.js'
import type { RotatingManifest } from '../manifest/manifest.js'
import type { LongWork } from './progress.js'
import { dataMissing, withoutManifest } from './check.js'
import { readFileHead } from './head.js'
import { sealed } from './protect.js'
import { type RekeyEngine, nativeEngine } from './rekey-engine.js'
import { nextSlot } from './next-slot.js'
import { type Rotating, rewritingOf } from './rewrite-pages.js'
import { rotateCache } from './rotate-cache.js'
import { makeBackup } from './rotation-backup.js'
import { type RotationEnd, endRotation } from './settle-rotation.js'
import { settle } from './settle.js'
import { type Protected, unlock } from './unlock.js'

export interface DekRotation extends LongWork {
  readonly provider: KeyProvider
  readonly skipBackup: boolean
  readonly disk?: Disk | undefined
  readonly engine?: RekeyEngine | undefined
}

/** `rotated`, or how an earlier rotation ended that was found interrupted: after `finished` no other was begun. */
export interface DekResult {
  readonly outcome: 'rotated' | 'finished'
  /** What became of an earlier rotation before this one began. */
  readonly earlier?: RotationEnd
}

/**
 * Rotates the DEK of one file.
 *
 * @throws what `unlock` throws; `manifest_missing`, `data_missing`, `file_corrupt` for a file that is not whole before; `file_busy`,
 * `disk_full`, `io_error`; what `signal` was aborted with. The file is then as it was, or, if the disk does not let it be
 * told, the next start or command settles it: the message says which.
 */
export async function rotateDek(path: string, subject: FileSubject, rotation: DekRotation): Promise<DekResult> {
  const { provider, disk = nativeDisk, engine = nativeEngine } = rotation
  const found = await unlock(path, subject, provider)
  if (found === undefined) throw withoutManifest(path, subject, await readFileHead(path))
  let earlier: RotationEnd | undefined
  const onRotation = (_: string, end: RotationEnd): void => void (earlier = end)
  const file = await closingOnError(found, () => settle(found, provider, { disk, engine, onRotation }))
  if (file === undefined) throw dataMissing(path)
  try {
    if (subject.family === 'libsql_cache') {
      await rotateCache(file, provider, disk)
      return { outcome: 'rotated' }
    }
    if (earlier === 'finished') return { outcome: 'finished', earlier }
    await rewritingOf(file).requireWhole(file, engine, reporting(path, rotation))
    await rotate(file, { ...rotation, disk, engine })
    return earlier === undefined ? { outcome: 'rotated' } : { outcome: 'rotated', earlier }
  } finally {
    file.dek.close()
  }
}

async function rotate(
  file: Protected,
  rotation: DekRotation & { readonly disk: Disk; readonly engine: RekeyEngine },
): Promise<void> {
  const { path, dek } = file
  const { disk, engine, provider, skipBackup } = rotation
  const fileId = rewritingOf(file).nextFileId(file.manifest.current)
  const { slot, dek: nextDek } = await nextSlot(file, fileId, provider)
  let failure: Error | undefined
  const manifest: RotatingManifest = { ...file.manifest, state: 'rotating', next: slot }
  const rotating: Rotating = { path, manifest, dek }
  try {
    disk.replaceFile(manifestPathOf(path), sealed(manifest, dek))
    if (!skipBackup) await makeBackup(rotating, disk, rotation)
    await rewritingOf(file).rewrite(rotating, nextDek, disk, engine, reporting(path, rotation))
  } catch (error) {
    failure = error instanceof Error ? error : toNimbusError(error)
  }
  try {
    const { outcome } = await endRotation(rotating, nextDek, disk, engine, rotation)
    if (outcome === 'finished') return
  } catch (error) {
    throw pending(path, failure ?? error)
  } finally {
    nextDek.close()
  }
  throw failure ?? notCommitted(path)
}

function reporting(path: string, { signal, onProgress }: LongWork) {
  return {
    signal,
    onProgress: onProgress && ((progress: Parameters<typeof onProgress>[1]) => onProgress(path, progress)),
  }
}

async function closingOnError<T>(file: Protected, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    file.dek.close()
    throw error
  }
}

/** SQLCipher said that all went well, and yet the file is under its old key: its commit failed. */
function notCommitted(path: string): NimbusError {
  return new NimbusError('io_error', `the new key of ${path} could not be committed; the file is as it was`, {
    path,
    remediation: 'Check the disk and the free space on it, then repeat.',
  })
}

function pending(path: string, thrown: unknown): Error {
  const cause = thrown instanceof Error ? thrown : toNimbusError(thrown)
  if (!(cause instanceof NimbusError)) return cause
  return new NimbusError(cause.code, `${cause.message}; the change of the key of ${path} is pending`, {
    path,
    cause,
    detail: cause.detail,
    remediation: `${cause.remediation} Then start the server or run the command again: either settles the file first.`,
  })
}
