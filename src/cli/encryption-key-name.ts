/** `nimbus encryption key-name`: the name of a subject's key file, for filling a key directory. Needs no configuration. */
import { parseFlags, type FlagSpec, type ParsedFlags } from '../config/flags.js'
import { NimbusError } from '../errors.js'
import { describe, keyFileName, type FileSubject } from '../keys/subject.js'
import type { Command } from './command.js'

const NAME = 'nimbus encryption key-name'
const PROVIDERS = ['sqlite', 'redb', 'libsql-cache'] as const

const flags: readonly FlagSpec[] = [
  { flag: '--provider', value: `<${PROVIDERS.join('|')}>`, help: 'The kind of file that the key protects.' },
  {
    flag: '--tenant-id',
    value: '<id>',
    help: 'The tenant that owns the file. Left out only for the control plane, which is redb.',
  },
]

export const encryptionKeyName: Command = {
  usage: '--provider <name> [--tenant-id <id>]',
  description:
    'Prints the name under which a key directory holds the key of one file: its descriptor in hex, and .key.',
  sections: [{ title: 'Options', flags }],
  async run(argv, { format, print }) {
    const descriptor = describe(subjectOf(parseFlags(NAME, argv, flags)))
    const name = keyFileName(descriptor)
    print(format === 'json' ? `${JSON.stringify({ descriptor, key_name: name })}\n` : `${name}\n`)
    return 0
  },
}

function subjectOf(given: ParsedFlags): FileSubject {
  const provider = PROVIDERS.find((name) => name === given.get('--provider'))
  const tenant = given.get('--tenant-id')
  if (provider === undefined) throw usage(`--provider must be one of ${PROVIDERS.join(', ')}`)
  if (typeof tenant !== 'string') {
    if (provider === 'redb') return { family: 'control_plane' }
    throw usage(`--provider ${provider} needs --tenant-id`)
  }
  switch (provider) {
    case 'sqlite':
      return { family: 'sqlite_tenant', tenant }
    case 'redb':
      return { family: 'redb_tenant', tenant }
    case 'libsql-cache':
      return { family: 'libsql_cache', tenant }
  }
}

function usage(message: string): NimbusError {
  return new NimbusError('usage', message, { remediation: `Run \`${NAME} --help\`.` })
}
