/** Where a key may not lie: in a directory that it protects, by whatever path one gets there. */
import { realpathSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { NimbusError, systemErrorCode } from '../errors.js'
import { quote } from './quote.js'

/**
 * Refuses a key below a directory of files that it protects, the data directory or that of the file of a command: whoever copies that directory, for a backup or as a thief, would have the key with
 * the files. A link inside that leads out is refused as well, since many copies follow links.
 *
 * @throws `config_invalid` naming both.
 */
export function refuseKeyInside(keyPath: string, dataDirs: readonly string[]): void {
  const key = resolved(keyPath)
  const name = join(resolved(dirname(resolve(keyPath))), basename(keyPath))
  for (const dataDir of dataDirs) {
    const directory = resolved(dataDir)
    if (!isInside(key, directory) && !isInside(name, directory)) continue
    const through = key === resolve(keyPath) ? '' : ` (it resolves to ${quote(key, 512)})`
    throw new NimbusError(
      'config_invalid',
      `the key ${keyPath}${through} lies inside ${dataDir}, whose files it protects`,
      {
        path: keyPath,
        remediation: 'Move the key to a directory outside that one, and configure its new path.',
      },
    )
  }
}

/** The path without links, for as much of it as exists. */
function resolved(path: string): string {
  const absolute = resolve(path)
  try {
    return realpathSync.native(absolute)
  } catch (error) {
    const parent = dirname(absolute)
    const code = systemErrorCode(error)
    if (parent === absolute || (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES')) return absolute
    return join(resolved(parent), basename(absolute))
  }
}

function isInside(path: string, directory: string): boolean {
  const steps = relative(directory, path)
  return steps === '' || (steps !== '..' && !steps.startsWith(`..${sep}`))
}
