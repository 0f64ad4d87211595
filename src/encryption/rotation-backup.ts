/**
 * The copy of a file and its manifest that a rotation of its DEK leaves, `<file>.bak` and `<file>.bak.nimbus-enc`.
 *
 * While the rotation is pending the two bear its id in their names, which stands in the manifest as the salt of `next`: a copy
 * that another rotation left, perhaps years ago, is never taken for the copy of this one. When the rotation is finished they
 * take the place of the set before; while one of the two renames is missing, the manifest of the file still says so.
 */
import { hex } from '../keys/binding.js'
import { type Disk, exists, manifestPathOf, readManifest } from '../manifest/file.js'
import type { SettledManifest } from '../manifest/manifest.js'
import type { LongWork } from './progress.js'
import { sealed } from './protect.js'
import { type Rotating, rewritingOf } from './rewrite-pages.js'
import { authenticates } from './unlock.js'

export function backupOf(path: string): string {
  return `${path}.bak`
}

/** The manifest as it was before the rotation, and is again if nothing comes of it. */
export function before({ manifest }: Rotating): SettledManifest {
  return { ...manifest, state: 'active', next: null }
}

/**
 * The set is there when its manifest is: the data is durable before. The file has no log, and nobody has it open. A file whose name
 * will be another's gets a second name; nobody writes to it before it has lost the first.
 */
export async function makeBackup(rotating: Rotating, disk: Disk, { signal, onProgress }: LongWork): Promise<void> {
  const { path, dek } = rotating
  const copy = pendingBackupOf(rotating)
  const isLinked = rewritingOf(rotating.manifest).replacesFile && disk.linkFileDurably(path, copy)
  if (!isLinked) {
    await disk.copyFileDurably(path, copy, { signal, onProgress: onProgress && ((at) => onProgress(path, at)) })
  }
  disk.replaceFile(manifestPathOf(copy), sealed(before(rotating), dek))
}

/** Gives the set its lasting name; does the rest of it if it was interrupted. */
export async function publishBackup(rotating: Rotating, disk: Disk): Promise<void> {
  const copy = pendingBackupOf(rotating)
  if (!(await exists(manifestPathOf(copy)))) {
    removeBackup(rotating, disk)
    return
  }
  if (await exists(copy)) disk.publishFile(copy, backupOf(rotating.path))
  disk.publishFile(manifestPathOf(copy), manifestPathOf(backupOf(rotating.path)))
}

/** Whether there is a whole set of this very rotation. */
export async function hasBackup(rotating: Rotating): Promise<boolean> {
  const copy = pendingBackupOf(rotating)
  const stored = await readManifest(manifestPathOf(copy))
  if (stored === undefined || !(await exists(copy)) || !authenticates(rotating.dek, stored)) return false
  return Buffer.compare(stored.manifest.current.salt, rotating.manifest.current.salt) === 0
}

/** Puts the copy in the place of the file. A journal or a log beside it would be replayed into it: they go first. */
export async function restoreBackup(rotating: Rotating, disk: Disk): Promise<void> {
  for (const suffix of ['-journal', '-wal', '-shm']) disk.removeFileDurably(rotating.path + suffix)
  await disk.copyFileDurably(pendingBackupOf(rotating), rotating.path)
}

/** Takes away what there is of the set, the manifest first: without it the rest is no set. */
export function removeBackup(rotating: Rotating, disk: Disk): void {
  const copy = pendingBackupOf(rotating)
  for (const file of [manifestPathOf(copy), `${manifestPathOf(copy)}.tmp`, copy, `${copy}.tmp`])
    disk.removeFileDurably(file)
}

/** 128 of the salt's 256 random bits name the rotation. */
function pendingBackupOf({ path, manifest }: Rotating): string {
  return `${path}.${hex(manifest.next.salt.subarray(0, 16))}.bak`
}
