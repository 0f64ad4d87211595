/** A file of 32 raw key bytes: what can be wrong with one, said so that whoever reads it can mend it. */
import { NimbusError } from '../errors.js'

/** A key that was read from a file, and the permission bits of that file. */
interface FileKey {
  readonly mode: number
}

/**
 * Reads a key with `read`, whose bytes go straight into native memory: JavaScript never holds them. `name` is the file's in
 * messages: `master key file /secure/master.key`.
 *
 * @throws `key_missing`, `key_malformed`, each with what is wrong in `detail.reason`.
 */
export function readKey<K extends FileKey>(read: (path: string) => K, path: string, name: string): K {
  try {
    return read(path)
  } catch (error) {
    if (!(error instanceof NimbusError)) throw error
    const defect = DEFECTS[String(error.detail['reason'])]
    if (defect === undefined) throw error
    const [is, remediation] = defect(path, String(error.detail['bytes'] ?? 'too few or too many'))
    const { code, detail } = error
    throw new NimbusError(code, `${name} ${is}`, { path, remediation, detail, cause: error })
  }
}

/** What is wrong with a key file and what to do, by the `reason` that the addon found. */
const DEFECTS: Readonly<Record<string, (path: string, bytes: string) => readonly [is: string, remedy: string]>> = {
  missing: (path) => [
    'does not exist',
    `Put the key there; if nothing is encrypted yet, make one: openssl rand -out ${path} 32`,
  ],
  unreadable: () => ['cannot be read', 'Let the user that runs nimbus read it: chown it to that user, then chmod 400.'],
  directory: () => ['is a directory', 'Name the key file itself; one file per subject is the provider key-dir.'],
  not_a_file: () => ['is not a regular file', 'Name a regular file with 32 raw bytes.'],
  short: (_path, bytes) => [`has ${bytes} bytes instead of 32`, 'Restore the whole key file from its backup.'],
  long: (_path, bytes) => [
    `has ${bytes} bytes instead of 32`,
    'Name the file with the raw key: 32 bytes, nothing else.',
  ],
  looks_like_hex: (path) => [
    'holds hex digits instead of 32 raw bytes',
    `Convert it: xxd -r -p ${path} > ${path}.raw, and configure that file.`,
  ],
  looks_like_base64: (path) => [
    'holds base64 text instead of 32 raw bytes',
    `Convert it: base64 -d ${path} > ${path}.raw, and configure that file.`,
  ],
  zero: (path) => [
    'holds zero bytes only',
    `Restore the key; if nothing is encrypted yet, make one: openssl rand -out ${path} 32`,
  ],
}

/** What an operator should know of a key file or directory of this mode; `what` names it. */
export function permissionWarnings(what: string, path: string, mode: number, better: string): string[] {
  if ((mode & 0o077) === 0) return []
  const access = (mode & 0o044) === 0 ? 'open to' : 'readable by'
  const octal = (mode & 0o7777).toString(8).padStart(4, '0')
  return [`${what} ${path} is ${access} group or others (mode ${octal}): chmod ${better} ${path}`]
}
