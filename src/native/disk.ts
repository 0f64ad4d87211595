/** Durable changes of a directory, and locks. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { fromFailure, guard } from './failure.js'
import { longWork } from './work.js'

export type FileLock = Addon.FileLock

export interface FileReplacement {
  path: string
  bytes: Uint8Array
}

export const FileLock = {
  /** Throws `file_busy` at once, naming the owner's pid and host. */
  exclusive: (path: string): Addon.FileLock => guard(() => addon.FileLock.exclusive(path)),
  shared: (path: string): Addon.FileLock => guard(() => addon.FileLock.shared(path)),
}

/** Puts `bytes` at `path` in one step, mode 0600, durable on return. The caller is the only writer of that path. */
export const replaceFile = (path: string, bytes: Uint8Array): void => guard(() => addon.replaceFile(path, bytes))
/**
 * As `replaceFile` for each of them, with one flush of the file system for all, on another thread. In their order: `undefined`
 * for a file that is durable, else what failed; that file is then what it was, and the others are not held up.
 */
export async function replaceFiles(files: FileReplacement[]): Promise<(Error | undefined)[]> {
  const { failures = [] } = await longWork({}, (onEvent) => addon.replaceFiles(files, onEvent))
  return failures.map((failure) => (failure ? fromFailure(failure) : undefined))
}
/** False if something is there already; of any number of processes that try at once exactly one gets true. */
export const createFileExclusive = (path: string, bytes: Uint8Array): boolean =>
  guard(() => addon.createFileExclusive(path, bytes))
/** Gives a whole, synced file its own name, durable on return. The caller is the only writer, and saw nothing at `path`. */
export const publishFile = (temporary: string, path: string): void => guard(() => addon.publishFile(temporary, path))
/** False if there was none. */
export const removeFileDurably = (path: string): boolean => guard(() => addon.removeFileDurably(path))
/** A second name for a file, which must not exist; false where the file system has no hard links. */
export const linkFileDurably = (from: string, to: string): boolean => guard(() => addon.linkFileDurably(from, to))
/** With missing parents, mode 0700. */
export const createDirectory = (path: string): void => guard(() => addon.createDirectory(path))
