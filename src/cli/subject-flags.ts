/** `--provider` and `--tenant-id`: whose file a command is about. */
import { basename } from 'node:path'
import type { FlagSpec, ParsedFlags } from '../config/flags.js'
import { NimbusError } from '../errors.js'
import { type FileSubject, describe, servedName } from '../keys/subject.js'

const PROVIDERS = ['sqlite', 'redb', 'libsql-cache'] as const

export const SUBJECT_FLAGS: readonly FlagSpec[] = [
  { flag: '--provider', value: `<${PROVIDERS.join('|')}>`, help: 'The kind of file.' },
  {
    flag: '--tenant-id',
    value: '<id>',
    help: 'The tenant that owns the file. Left out only for the control plane, which is redb.',
  },
]

/** `command` is what the user typed. Throws `usage`, `invalid_tenant_id`. */
export function subjectOf(command: string, given: ParsedFlags): FileSubject {
  const provider = PROVIDERS.find((name) => name === given.get('--provider'))
  const tenant = given.get('--tenant-id')
  if (provider === undefined) throw usage(command, `--provider must be one of ${PROVIDERS.join(', ')}`)
  if (typeof tenant !== 'string') {
    if (provider === 'redb') return { family: 'control_plane' }
    throw usage(command, `--provider ${provider} needs --tenant-id`)
  }
  const families = { sqlite: 'sqlite_tenant', redb: 'redb_tenant', 'libsql-cache': 'libsql_cache' } as const
  const subject = { family: families[provider], tenant }
  describe(subject)
  return subject
}

/** Without a tenant a file is the control plane, and that has one name. */
export function requireControlPlane(command: string, subject: FileSubject, path: string): void {
  if (subject.family !== 'control_plane' || basename(path) === servedName(subject)) return
  throw usage(command, `--tenant-id is left out only for ${servedName(subject)}`)
}

/** The value of a flag that has to be given. */
export function required(command: string, given: ParsedFlags, flag: string): string {
  const value = given.get(flag)
  if (typeof value !== 'string') throw usage(command, `${flag} is not given`)
  return value
}

export function usage(command: string, message: string): NimbusError {
  return new NimbusError('usage', message, { remediation: `Run \`${command} --help\`.` })
}
