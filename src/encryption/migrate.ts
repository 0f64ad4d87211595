/**
 * A plaintext file becomes an encrypted copy of its own DEK beside it; the source may then be retired.
 *
 * | stopped after               | on the disk                                                | the next migration of that source      |
 * |-----------------------------|------------------------------------------------------------|----------------------------------------|
 * | `createProtected`           | source; target's manifest `creating`                       | removes the manifest, and begins again |
 * | somewhere in the copy       | source; manifest `creating`, target in part, its journal   | removes both, and begins again         |
 * | the copy, and its check     | source; manifest `creating`, target                        | removes both, and begins again         |
 * | `markActive`                | source; manifest `active`, target                          | refused: the target exists             |
 * | the mark `.deleting`        | the same, and the mark                                     | removes the source, then the mark      |
 * | removing the source in part | the database itself last, and the mark                     | removes the rest, then the mark        |
 * | removing the mark           | manifest `active`, target                                  | knows no such source                   |
 *
 * A redb file is made as `<target>.creating` and takes its name when it is whole, before `markActive`.
 * A target that is `creating` is also removed by a server that finds it under a served name. Before the copy a write-ahead
 * log or journal of the source is folded into it, as by whoever would open it next; nothing else of it changes.
 */
import { resolve } from 'node:path'
import { type Profile, cipherOfFamily } from '../keys/profile.js'
import type { FileSubject } from '../keys/subject.js'
import { type Disk, exists, manifestPathOf, nativeDisk, readManifest } from '../manifest/file.js'
import { type CopyOptions, copyContents, databaseOf, failure, holdBoth, refuseCache } from './copy.js'
import { bearsFileId, contentsOf, plaintextCipher, readFileHead } from './head.js'
import { createProtected, dataFilesOf, markActive, removeProtected } from './protect.js'
import { settle } from './settle.js'
import { type Protected, unlock } from './unlock.js'

const RETIRING_SUFFIX = '.deleting'

export interface MigrateOptions extends Omit<CopyOptions, 'target'> {
  /** `<source>.encrypted` if left out. */
  readonly target?: string | undefined
  readonly profile: Profile
  /** Read both files again, and compare them. */
  readonly validate: boolean
  /** Remove the plaintext when all is done. */
  readonly retireSource: boolean
}

export interface Migrated {
  readonly source: string
  readonly target: string
  /** `finished`: the copy was made by a migration before, which was stopped while it removed the source. */
  readonly outcome: 'migrated' | 'finished'
  /** A migration before was stopped in its copy, which was taken away. */
  readonly undone: boolean
  readonly isSourceThere: boolean
}

/**
 * @throws `target_exists`, `data_missing`, `file_busy` for a source or a directory that somebody has, `file_corrupt`,
 * `unsupported_for_provider`; what the provider throws; `disk_full`, `io_error`; the signal's reason. The source is whole then,
 * and the target gone, unless its removal failed as well: the next migration sees to it.
 */
export async function migrate(options: MigrateOptions, disk: Disk = nativeDisk): Promise<Migrated> {
  refuseCache(options.subject, 'Restart the server with encryption on: the cache is rebuilt under a new key.')
  const source = resolve(options.source)
  const target = resolve(options.target ?? `${options.source}.encrypted`)
  if (source === target) throw failure('target_exists', target, 'is the source itself')
  const held = holdBoth(source, target)
  try {
    return await migrateHeld({ ...options, source, target }, disk)
  } finally {
    held.release()
  }
}

/** Whether there is something to migrate, or to finish: before a lock is taken, which leaves a file beside the path. */
export async function isMigratable(source: string): Promise<boolean> {
  return (await exists(source)) || (await exists(source + RETIRING_SUFFIX))
}

type Resolved = MigrateOptions & { readonly target: string }

async function migrateHeld(options: Resolved, disk: Disk): Promise<Migrated> {
  const { source, target, subject } = options
  const undone = await undoUnfinished(options, disk)
  if (await exists(source + RETIRING_SUFFIX)) {
    await requireWhole(options)
    removeSource(source, subject, disk)
    return { source, target, outcome: 'finished', undone, isSourceThere: false }
  }
  await requirePlaintext(source, subject)
  await copyPublished(options, disk)
  if (options.retireSource) {
    disk.createFileExclusive(source + RETIRING_SUFFIX, new Uint8Array(0))
    removeSource(source, subject, disk)
  }
  return { source, target, outcome: 'migrated', undone, isSourceThere: !options.retireSource }
}

async function copyPublished(options: Resolved, disk: Disk): Promise<void> {
  const { source, target, subject, keys, profile, signal } = options
  const file = await createProtected(target, subject, keys, profile, disk)
  try {
    await copyContents({ path: source }, { path: target, file }, options.validate, options)
    const head = await readFileHead(target)
    if (head === undefined || !bearsFileId(head, profile, file.fileId)) {
      throw failure('file_corrupt', target, 'does not begin as it was written', 'Check the disk, then migrate again.')
    }
    signal?.throwIfAborted()
    await markActive(file, disk)
    file.dek.close()
  } catch (error) {
    // What cannot be removed now, on a disk that fails, the next migration removes: the error to report is this one.
    await Promise.allSettled([removeProtected(file, disk)])
    file.dek.close()
    throw error
  }
}

/** Takes away what a migration before, or a creation, left at the target without finishing it. */
async function undoUnfinished({ target, subject, keys }: Resolved, disk: Disk): Promise<boolean> {
  const manifest = (await readManifest(manifestPathOf(target)))?.manifest
  if (manifest?.state !== 'creating' && manifest?.state !== 'deleting') return false
  const file = await unlock(target, subject, keys)
  if (file === undefined) return false
  await settle(file, keys, { disk }).finally(() => file.dek.close())
  return true
}

/** A source that was to be removed is, once its copy is known to be there. */
async function requireWhole({ source, target, subject, keys }: Resolved): Promise<void> {
  const file: Protected | undefined = await unlock(target, subject, keys)
  file?.dek.close()
  const head = await readFileHead(target)
  if (file?.manifest.state === 'active' && head !== undefined && bearsFileId(head, file.profile, file.fileId)) return
  throw failure(
    'data_missing',
    target,
    `is not the encrypted copy of ${source}, which ${source}${RETIRING_SUFFIX} says is to be removed`,
    `Name the copy with --target, or remove ${source}${RETIRING_SUFFIX} to keep the source.`,
  )
}

async function requirePlaintext(source: string, subject: FileSubject): Promise<void> {
  const head = await readFileHead(source)
  if (head === undefined) throw failure('data_missing', source, 'does not exist', 'Correct --source.')
  if (plaintextCipher(head) === cipherOfFamily(subject.family)) return
  if (contentsOf(head) === 'plaintext') {
    throw failure('file_corrupt', source, `is not ${databaseOf(subject)}`, 'Correct --provider.')
  }
  if (await exists(manifestPathOf(source))) {
    throw failure('target_exists', source, 'is encrypted already', 'Nothing is left to do for this file.')
  }
  throw failure('file_corrupt', source, `is not a plaintext database`, 'Correct --source, or restore the file.')
}

/** The database last: as long as it is there, what lies beside it belongs to it. */
function removeSource(source: string, { family }: FileSubject, disk: Disk): void {
  for (const part of dataFilesOf(source, family).reverse()) disk.removeFileDurably(part)
  disk.removeFileDurably(source + RETIRING_SUFFIX)
}
