/** Every database file of the data directories, as the disk shows it, with or without its manifest. */
import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fromSystemError, systemErrorCode } from '../errors.js'
import { type FileSubject, isTenantId, servedName } from '../keys/subject.js'
import { fileOfManifestPath } from '../manifest/file.js'
import { mapBounded } from './bounded.js'
import { type FileStatus, type StatusOptions, readFileStatus } from './status.js'

/** A directory, and what the configuration keeps in it. */
export interface DataDirectory {
  readonly path: string
  readonly holds: 'tenants' | 'control_plane' | 'libsql_caches'
}

export interface DatabaseFile {
  readonly path: string
  /** Whose it is by its name; `undefined` for a backup, a migrated copy, or a name that no tenant can have. */
  readonly expected: FileSubject | undefined
}

const READS_AT_A_TIME = 16
const CONTROL_PLANE = servedName({ family: 'control_plane' })

/**
 * The databases of a directory, sorted by path: files with a served name, and whatever a manifest lies beside or was left
 * without its file. None if the directory does not exist.
 */
export async function listDatabaseFiles(directory: DataDirectory): Promise<DatabaseFile[]> {
  const names = new Set<string>()
  for (const name of await namesIn(directory.path)) {
    const owner = fileOfManifestPath(name)
    if (owner !== undefined || looksServed(name)) names.add(owner ?? name)
  }
  return [...names]
    .filter((name) => isOfControlPlane(name) === (directory.holds === 'control_plane'))
    .sort()
    .map((name) => ({ path: join(directory.path, name), expected: subjectOfName(name, directory.holds) }))
}

/** Every data file in a directory that has a manifest, backups too and files that are missing, sorted by path. */
export async function listManifestFiles(directory: string): Promise<string[]> {
  const names = await namesIn(directory)
  const files = names.map(fileOfManifestPath).filter((name) => name !== undefined)
  return files.sort().map((name) => join(directory, name))
}

/** A directory and all below it, sorted; links are not followed. */
export async function listDirectories(directory: string): Promise<string[]> {
  const entries = await entriesIn(directory)
  const below = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(directory, name))
  return [directory, ...(await Promise.all(below.sort().map(listDirectories))).flat()]
}

/** The status of every database in these directories. `served` as in `StatusOptions`, for all of them. */
export async function readDirectoryStatus(
  directories: readonly DataDirectory[],
  served?: StatusOptions['served'],
): Promise<FileStatus[]> {
  const files = (await Promise.all(directories.map(listDatabaseFiles))).flat()
  return mapBounded(files, READS_AT_A_TIME, ({ path, expected }) => readFileStatus(path, { expected, served }))
}

/** The subject that is served under this name from such a directory. */
export function subjectOfName(name: string, holds: DataDirectory['holds']): FileSubject | undefined {
  return candidates(name, holds).find((subject) => servedName(subject) === name)
}

function candidates(name: string, holds: DataDirectory['holds']): FileSubject[] {
  const tenant = name.slice(0, name.lastIndexOf('.'))
  if (holds === 'control_plane') return [{ family: 'control_plane' }]
  if (!isTenantId(tenant)) return []
  if (holds === 'libsql_caches') return [{ family: 'libsql_cache', tenant }]
  return [
    { family: 'sqlite_tenant', tenant },
    { family: 'redb_tenant', tenant },
  ]
}

function looksServed(name: string): boolean {
  return name.endsWith('.sqlite3') || name.endsWith('.redb') || name === CONTROL_PLANE
}

/** Its backups and migrated copies too. */
function isOfControlPlane(name: string): boolean {
  return name === CONTROL_PLANE || name.startsWith(`${CONTROL_PLANE}.`)
}

async function namesIn(path: string): Promise<string[]> {
  return (await entriesIn(path)).map(({ name }) => name)
}

async function entriesIn(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true })
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw fromSystemError(error, 'list', path)
  }
}
