/**
 * An encrypted file becomes a plaintext copy elsewhere.
 *
 * | stopped after         | on the disk                                            | the next export to that target     |
 * |-----------------------|--------------------------------------------------------|------------------------------------|
 * | somewhere in the copy | source; `<target>.exporting` in part, its journal      | removes both, and begins again     |
 * | the copy, its check   | source; `<target>.exporting`                           | removes it, and begins again       |
 * | the rename            | source; the target, whole                              | refused: the target exists         |
 *
 * The target never exists in part, and is readable by its owner only from its first byte on. A log beside the source is folded
 * in before, as by whoever would open it next; a redb source is opened and closed by redb. Nothing else of the source changes.
 */
import { resolve } from 'node:path'
import { type Disk, exists, manifestPathOf, nativeDisk } from '../manifest/file.js'
import { publishFile } from '../native.js'
import { checkProtected, requireFileOrManifest } from './check.js'
import { type CopyOptions, copyContents, failure, holdBoth, refuseCache } from './copy.js'
import { dataFilesOf } from './protect.js'

const EXPORTING_SUFFIX = '.exporting'

/** What an export changes of a directory: it removes, and gives a whole file its name. */
export interface ExportDisk extends Pick<Disk, 'removeFileDurably' | 'replaceFile'> {
  publishFile(temporary: string, path: string): void
}

const exportDisk: ExportDisk = { ...nativeDisk, publishFile }

export interface ExportOptions extends CopyOptions {
  /** Read both files again, and compare them. */
  readonly validate: boolean
}

export interface Exported {
  readonly source: string
  readonly target: string
  /** What an export before, that was stopped, had left of its copy was taken away. */
  readonly undone: boolean
}

/**
 * @throws what `checkProtected` throws of the source; `target_exists`, `file_busy`, `file_corrupt` for a page that does not
 * authenticate, `unsupported_for_provider`, `disk_full`, `io_error`; the signal's reason. Nothing is at the target then.
 */
export async function exportPlaintext(options: ExportOptions, disk: ExportDisk = exportDisk): Promise<Exported> {
  refuseCache(options.subject, 'Rebuild the cache from the remote primary instead.')
  const source = resolve(options.source)
  const target = resolve(options.target)
  if (source === target) throw failure('target_exists', target, 'is the source itself')
  await requireFileOrManifest(source)
  const held = holdBoth(source, target)
  try {
    return await exportHeld({ ...options, source, target }, disk)
  } finally {
    held.release()
  }
}

async function exportHeld(options: ExportOptions, disk: ExportDisk): Promise<Exported> {
  const { source, target, subject, keys, signal } = options
  const unfinished = dataFilesOf(target + EXPORTING_SUFFIX, subject.family)
  const removeUnfinished = () => unfinished.map((part) => disk.removeFileDurably(part)).includes(true)
  const undone = removeUnfinished()
  for (const path of [...dataFilesOf(target, subject.family), manifestPathOf(target)]) {
    if (await exists(path)) throw failure('target_exists', path, 'exists already')
  }
  const file = await checkProtected(source, subject, keys, { disk: { ...nativeDisk, ...disk } })
  if (file === undefined) throw failure('data_missing', source, 'was never completed, and is removed now')
  try {
    await copyContents({ path: source, file }, { path: target + EXPORTING_SUFFIX }, options.validate, options)
    signal?.throwIfAborted()
    disk.publishFile(target + EXPORTING_SUFFIX, target)
  } catch (error) {
    // What cannot be removed now, on a disk that fails, the next export removes: the error to report is this one.
    await Promise.allSettled([new Promise((resolve) => resolve(removeUnfinished()))])
    throw error
  } finally {
    file.dek.close()
  }
  return { source, target, undone }
}
