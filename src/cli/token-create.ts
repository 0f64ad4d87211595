/** `nimbus token create`: an API token for some tenants, shown once. */
import { parseFlags, type FlagSpec } from '../config/flags.js'
import { NimbusError } from '../errors.js'
import { AdminClient, CLIENT_FLAGS, isObject } from './admin-client.js'
import type { Command } from './command.js'

const NAME = 'nimbus token create'

const TOKEN: readonly FlagSpec[] = [
  { flag: '--name', value: '<text>', help: 'What the token is for, to recognise it by.' },
  {
    flag: '--tenants',
    value: '<ids>',
    help: 'Tenant ids, separated by commas; "*" for every tenant, also later ones.',
  },
  {
    flag: '--expires-in',
    value: '<time>',
    help: 'How long the token is good: a number and m, h or d, such as 90d. Left out, until it is revoked.',
  },
  { flag: '--access', value: '<read|write>', help: 'What the token permits; write includes read. Default: read' },
]

const UNITS_MS = new Map([
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

export const tokenCreate: Command = {
  usage: '--name <text> --tenants <ids> [options]',
  description:
    'Makes an API token on a running server. It is printed to stdout, this once: the server keeps its SHA-256 and its ' +
    'first 12 characters. Tenants may be named before they exist; when one is deleted, tokens lose it.',
  sections: [
    { title: 'Token', flags: TOKEN },
    { title: 'Server', flags: CLIENT_FLAGS },
  ],
  async run(argv, { env, format, print }) {
    const flags = parseFlags(NAME, argv, [...TOKEN, ...CLIENT_FLAGS])
    const body = {
      name: required(flags.get('--name'), '--name'),
      tenants: required(flags.get('--tenants'), '--tenants').split(','),
      access: flags.get('--access') ?? 'read',
      ...expiryOf(flags.get('--expires-in')),
    }
    const made = await AdminClient.from(flags, env).request('POST', '/api/tokens', body)
    if (format === 'json') print(`${JSON.stringify(made)}\n`)
    else print(`${isObject(made) ? String(made['token']) : ''}\n`)
    return 0
  },
}

function expiryOf(duration: string | true | undefined): { expires_at?: string } {
  if (typeof duration !== 'string') return {}
  const [, count, unit = ''] = /^([1-9][0-9]{0,5})([mhd])$/.exec(duration) ?? []
  const unitMs = UNITS_MS.get(unit)
  if (count === undefined || unitMs === undefined) {
    throw new NimbusError('usage', `--expires-in ${JSON.stringify(duration)} is not a time`, {
      remediation: 'Give a number and m, h or d: 30m, 12h, 90d.',
    })
  }
  return { expires_at: new Date(Date.now() + Number(count) * unitMs).toISOString() }
}

function required(value: string | true | undefined, flag: string): string {
  if (typeof value === 'string') return value
  throw new NimbusError('usage', `${NAME} needs ${flag}`, { remediation: `Run \`${NAME} --help\`.` })
}
