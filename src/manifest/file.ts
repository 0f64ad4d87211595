/** Manifests on the disk: where they lie, read within bounds, changed only through durable steps. */
import { closeSync, fstatSync, lstatSync, openSync, readSync } from 'node:fs'
import { type FileHandle, constants, lstat, open } from 'node:fs/promises'
import { NimbusError, fromSystemError, systemErrorCode } from '../errors.js'
import {
  type FileReplacement,
  type WorkOptions,
  copyFileDurably,
  createFileExclusive,
  linkFileDurably,
  publishFile,
  removeFileDurably,
  replaceFile,
  replaceFiles,
} from '../native.js'
import type { StoredManifest } from './manifest.js'
import { MAX_MANIFEST_BYTES, parseManifest } from './parse.js'

/** The only changes of a directory that the protocols are made of; each is atomic, and durable when it returns. */
export interface Disk {
  /** `false` if the file exists already: of any number of processes, one gets `true`. */
  createFileExclusive(path: string, bytes: Uint8Array): boolean
  replaceFile(path: string, bytes: Uint8Array): void
  /** Each of them as `replaceFile` does it, and in their order what failed; one that fails does not hold up the others. */
  replaceFiles(files: FileReplacement[]): Promise<(Error | undefined)[]>
  /** `false` if there was no such file. */
  removeFileDurably(path: string): boolean
  /** What has that name is replaced. */
  publishFile(from: string, to: string): void
  /** A second name; `false`, and nothing done, where the file system has none. */
  linkFileDurably(from: string, to: string): boolean
  /** What is at `to` is replaced in one step, by a copy of mode 0600. */
  copyFileDurably(from: string, to: string, options?: WorkOptions): Promise<void>
}

export const nativeDisk: Disk = {
  createFileExclusive,
  replaceFile,
  replaceFiles,
  removeFileDurably,
  publishFile,
  linkFileDurably,
  copyFileDurably,
}

const MANIFEST_SUFFIX = '.nimbus-enc'

export function manifestPathOf(file: string): string {
  return file + MANIFEST_SUFFIX
}

/** The file whose manifest this path is; `undefined` for anything else. */
export function fileOfManifestPath(path: string): string | undefined {
  return path.endsWith(MANIFEST_SUFFIX) ? path.slice(0, -MANIFEST_SUFFIX.length) : undefined
}

/** What a crash in `replaceFile` leaves beside a manifest; never read. */
export function staleManifestPathOf(file: string): string {
  return `${manifestPathOf(file)}.tmp`
}

/**
 * The manifest at this path, `undefined` if there is none.
 *
 * @throws `manifest_altered` if it is not exactly as nimbus writes them; `io_error` or `data_dir_unwritable` if it cannot be read.
 */
export async function readManifest(path: string): Promise<StoredManifest | undefined> {
  const bytes = await readHead(path, MAX_MANIFEST_BYTES + 1)
  return bytes === undefined ? undefined : parseManifest(bytes, path)
}

/** The same for callers who cannot wait. */
export function readManifestAtOnce(path: string): StoredManifest | undefined {
  const bytes = readHeadAtOnce(path, MAX_MANIFEST_BYTES + 1)
  return bytes === undefined ? undefined : parseManifest(bytes, path)
}

/** The first `limit` bytes of a file, fewer if it is shorter; `undefined` if it does not exist. */
export async function readHead(path: string, limit: number): Promise<Uint8Array | undefined> {
  let handle: FileHandle
  try {
    // O_NONBLOCK: a pipe under that name must not hang the start of a server.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw fromSystemError(error, 'read', path)
  }
  try {
    return await readFrom(handle, limit, path)
  } catch (error) {
    throw fromSystemError(error, 'read', path)
  } finally {
    await handle.close()
  }
}

/** The same for callers who cannot wait. */
export function readHeadAtOnce(path: string, limit: number): Uint8Array | undefined {
  let descriptor: number
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw fromSystemError(error, 'read', path)
  }
  try {
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) throw notRegular(path)
    const bytes = Buffer.alloc(Math.min(limit, stats.size))
    let filled = 0
    while (filled < bytes.length) {
      const read = readSync(descriptor, bytes, filled, bytes.length - filled, filled)
      if (read === 0) break
      filled += read
    }
    return bytes.subarray(0, filled)
  } catch (error) {
    throw fromSystemError(error, 'read', path)
  } finally {
    closeSync(descriptor)
  }
}

/** Whether anything has this name; nothing is opened. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw fromSystemError(error, 'look for', path)
  }
}

/** The same for callers who cannot wait. */
export function existsAtOnce(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined
  } catch (error) {
    if (isMissing(error)) return false
    throw fromSystemError(error, 'look for', path)
  }
}

async function readFrom(handle: FileHandle, limit: number, path: string): Promise<Uint8Array> {
  const stats = await handle.stat()
  if (!stats.isFile()) throw notRegular(path)
  const bytes = Buffer.alloc(Math.min(limit, stats.size))
  let filled = 0
  while (filled < bytes.length) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}

function notRegular(path: string): NimbusError {
  return new NimbusError('io_error', `cannot read ${path}: it is not a regular file`, { path })
}

function isMissing(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}
