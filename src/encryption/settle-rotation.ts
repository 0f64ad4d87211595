/**
 * How a change of a DEK ends, whether it comes to its end by itself or was interrupted: one and the same procedure.
 *
 * The manifest holds both keys from before the first page under the new one until after every page was seen to be under it.
 * SQLite's commit, of redb the rename, is the one moment at which the file passes from one to the other; which side of it the
 * file is on is told by its first page or superblock, which authenticates under one key only.
 *
 * | the file opens under             | what is done                                                                     | outcome    |
 * |----------------------------------|----------------------------------------------------------------------------------|------------|
 * | `next`, all of it                | the backup takes its lasting name; then the manifest is `next` alone              | `finished` |
 * | `current`                        | the backup and `.rotating` go; then the manifest is `current` alone                             | `undone`   |
 * | neither, or `next` with bad pages | with a whole backup of this rotation: the file is put back; then as for `current` | `restored` |
 * |                                  | without: an error, and nothing changes                                            |            |
 *
 * Every step leaves one of these rows true, so the procedure may be interrupted and begun again any number of times. An error
 * of the disk is an error: it never counts as a wrong key.
 */
import { NimbusError } from '../errors.js'
import type { KeyProvider } from '../keys/provider.js'
import { type Disk, manifestPathOf, staleManifestPathOf } from '../manifest/file.js'
import type { RotatingManifest, SettledManifest } from '../manifest/manifest.js'
import { manifestAltered } from '../manifest/parse.js'
import type { Dek } from '../native.js'
import type { LongWork } from './progress.js'
import { sealed } from './protect.js'
import { type RekeyEngine, opensUnder } from './rekey-engine.js'
import { type Rotating, resealedPathOf, rewritingOf } from './rewrite-pages.js'
import { before, hasBackup, publishBackup, removeBackup, restoreBackup } from './rotation-backup.js'
import { type Protected, protectedFile, unwrapSlot } from './unlock.js'

export type RotationEnd = 'finished' | 'undone' | 'restored'

export interface EndedRotation {
  /** With the DEK that the file is under now; the other one is closed. */
  readonly file: Protected
  readonly outcome: RotationEnd
}

/** What people are told of a rotation that ended so. */
export const ROTATION_ENDS = {
  finished: 'an interrupted change of its key was finished: it is under the new key',
  undone: 'an interrupted change of its key was undone: it is under the key that it had before',
  restored:
    'an interrupted change of its key had damaged it: it was put back from the copy made before, under its old key',
} as const satisfies Record<RotationEnd, string>

/**
 * Ends a rotation that was found in a manifest. Closes `file.dek` if another takes its place.
 *
 * @throws `file_corrupt` if neither key opens the file and there is no backup of this rotation; what the provider and the
 * disk throw. The rotation is pending still, and may be settled again.
 */
export async function settleRotation(
  file: Protected & { readonly manifest: RotatingManifest },
  provider: KeyProvider,
  disk: Disk,
  engine: RekeyEngine,
  work: LongWork = {},
): Promise<EndedRotation> {
  const { path, manifest } = file
  const nextDek = await unwrapSlot(manifest, manifest.next, provider, manifestPathOf(path))
  try {
    if (Buffer.compare(nextDek.commitment(manifest.next.salt), manifest.next.commitment) !== 0) {
      throw manifestAltered(manifestPathOf(path), 'wrapped_key', 'its next key is not the one that it commits to')
    }
    return await endRotation(file, nextDek, disk, engine, work)
  } catch (error) {
    nextDek.close()
    throw error
  }
}

/** Likewise with both DEKs at hand; of the two, closes the one that the file is not under. */
export async function endRotation(
  rotating: Rotating,
  nextDek: Dek,
  disk: Disk,
  engine: RekeyEngine,
  { onProgress }: LongWork,
): Promise<EndedRotation> {
  const { path, manifest, dek } = rotating
  const { isBelieved, replacesFile } = rewritingOf(manifest)
  const report = onProgress && {
    onProgress: (progress: Parameters<typeof onProgress>[1]) => onProgress(path, progress),
  }
  let isUnderNext = false
  let damage: unknown
  try {
    const file = { path, manifest, slot: manifest.next, dek: nextDek }
    isUnderNext = await opensUnder(engine, file, dek, { everyPage: !isBelieved, ...report })
  } catch (error) {
    if (!isDamage(error)) throw error
    damage = error
  }
  if (isUnderNext) {
    await publishBackup(rotating, disk)
    const settled = finished(manifest)
    disk.replaceFile(manifestPathOf(path), sealed(settled, nextDek))
    dek.close()
    return { file: protectedFile(path, settled, nextDek), outcome: 'finished' }
  }
  const file = { path, manifest, slot: manifest.current, dek }
  const isUnderCurrent = damage === undefined && (await opensUnder(engine, file, dek, { everyPage: false }))
  if (!isUnderCurrent) await restore(rotating, disk, engine, damage)
  removeBackup(rotating, disk)
  if (replacesFile) disk.removeFileDurably(resealedPathOf(path))
  disk.removeFileDurably(staleManifestPathOf(path))
  const settled = before(rotating)
  disk.replaceFile(manifestPathOf(path), sealed(settled, dek))
  nextDek.close()
  return { file: protectedFile(path, settled, dek), outcome: isUnderCurrent ? 'undone' : 'restored' }
}

async function restore(rotating: Rotating, disk: Disk, engine: RekeyEngine, damage: unknown): Promise<void> {
  const { path, manifest, dek } = rotating
  if (await hasBackup(rotating)) {
    await restoreBackup(rotating, disk)
    const file = { path, manifest, slot: manifest.current, dek }
    if (await opensUnder(engine, file, dek, { everyPage: true })) return
  }
  throw new NimbusError('file_corrupt', `a key rotation is pending for ${path}, and neither key opens all of it`, {
    path,
    cause: damage,
    remediation:
      'Restore the file and its manifest together from the backup; the manifest that is there holds both keys.',
  })
}

function isDamage(error: unknown): boolean {
  return error instanceof NimbusError && error.code === 'file_corrupt'
}

function finished({ next, ...manifest }: RotatingManifest): SettledManifest {
  return { ...manifest, state: 'active', rotatedAt: new Date().toISOString(), current: next, next: null }
}
