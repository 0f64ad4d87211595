/** The provider `key-dir`: a directory with one file of 32 raw bytes for each subject, named by its descriptor in hex. */
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { NimbusError, systemErrorCode } from '../errors.js'
import { readSubjectKeyFile } from '../native.js'
import { permissionWarnings, readKey } from './key-file.js'
import { localKeyProvider } from './local.js'
import { refuseKeyInside } from './location.js'
import type { KeyProvider } from './provider.js'
import { keyFileName } from './subject.js'

const KIND = 'key_directory'
/** So many files are named in warnings; the others are counted. */
const FILES_IN_WARNINGS = 3

/**
 * Looks at the directory; a key is read when a file of its subject is made or opened, and wiped at once. So keys may come
 * and go while a server runs.
 *
 * @throws `key_missing`, `key_malformed` for a directory that is none; `config_invalid` for one inside a data directory. Later, of a
 * subject's key: `key_missing`, `key_malformed` naming the file, `config_invalid` if it is a link into a data directory.
 */
export async function openKeyDirectory(path: string, dataDirs: readonly string[]): Promise<KeyProvider> {
  refuseKeyInside(path, dataDirs)
  return keyDirectory(path, dataDirs, await warningsOf(path))
}

/** The same for callers who cannot wait, without a look at the directory: a key that is not there is found when it is needed. */
export function keyDirectory(path: string, dataDirs: readonly string[], warnings: readonly string[] = []): KeyProvider {
  refuseKeyInside(path, dataDirs)
  return localKeyProvider({
    kind: KIND,
    warnings,
    describe: () => ({ provider: KIND, path }),
    withKek: (descriptor, use) => {
      const file = join(path, keyFileName(descriptor))
      refuseKeyInside(file, dataDirs)
      const { key } = readKey(readSubjectKeyFile, file, `key file ${file} of ${descriptor}`)
      try {
        return use(key, resolve(file))
      } finally {
        key.close()
      }
    },
    close: () => undefined,
  })
}

async function warningsOf(path: string): Promise<string[]> {
  const { mode } = await lookAt(path)
  const warnings = permissionWarnings('key directory', path, mode, '700')
  const files = await Promise.all(
    (await namesIn(path)).filter((name) => name.endsWith('.key')).map((name) => warningsOfFile(join(path, name))),
  )
  const open = files.flat()
  warnings.push(...open.slice(0, FILES_IN_WARNINGS))
  if (open.length > FILES_IN_WARNINGS) {
    warnings.push(`${open.length - FILES_IN_WARNINGS} more key files in ${path} are open to group or others`)
  }
  return warnings
}

/** A file that is gone again, or cannot be looked at, is told of when its key is needed. */
async function warningsOfFile(file: string): Promise<string[]> {
  try {
    return permissionWarnings('key file', file, (await stat(file)).mode, '400')
  } catch {
    return []
  }
}

async function lookAt(path: string): Promise<{ mode: number }> {
  try {
    const stats = await stat(path)
    if (stats.isDirectory()) return stats
  } catch (error) {
    throw unreadable(path, error)
  }
  throw new NimbusError('key_malformed', `key directory ${path} is not a directory`, {
    path,
    remediation:
      'Name the directory that holds the key files; one file for all subjects is the provider master-key-file.',
    detail: { reason: 'not_a_directory' },
  })
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    // Names need not be listed to be opened: whoever may only enter the directory can use it.
    if (systemErrorCode(error) === 'EACCES') return []
    throw unreadable(path, error)
  }
}

function unreadable(path: string, cause: unknown): NimbusError {
  const isMissing = ['ENOENT', 'ENOTDIR'].includes(systemErrorCode(cause) ?? '')
  return new NimbusError('key_missing', `key directory ${path} ${isMissing ? 'does not exist' : 'cannot be read'}`, {
    path,
    remediation: isMissing
      ? 'Create it with mode 700, and put a key file into it for each subject: nimbus encryption key-name prints the names.'
      : 'Let the user that runs nimbus enter it: chown it to that user, then chmod 700.',
    detail: { reason: isMissing ? 'missing' : 'unreadable' },
    cause,
  })
}
