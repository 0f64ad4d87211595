/** `nimbus token revoke`: from now on the server refuses the token. */
import { parseFlags, type FlagSpec } from '../config/flags.js'
import { NimbusError } from '../errors.js'
import { AdminClient, CLIENT_FLAGS } from './admin-client.js'
import type { Command } from './command.js'

const NAME = 'nimbus token revoke'
const TOKEN: readonly FlagSpec[] = [{ flag: '--id', value: '<id>', help: 'The id that `nimbus token list` shows.' }]

export const tokenRevoke: Command = {
  usage: '--id <id> [options]',
  description:
    'Revokes an API token on a running server: the next request with it is refused. Its record stays listed.',
  sections: [
    { title: 'Token', flags: TOKEN },
    { title: 'Server', flags: CLIENT_FLAGS },
  ],
  async run(argv, { env, format, print }) {
    const flags = parseFlags(NAME, argv, [...TOKEN, ...CLIENT_FLAGS])
    const id = flags.get('--id')
    if (typeof id !== 'string') {
      throw new NimbusError('usage', `${NAME} needs --id`, { remediation: 'Find it with `nimbus token list`.' })
    }
    await AdminClient.from(flags, env).request('DELETE', `/api/tokens/${encodeURIComponent(id)}`)
    const result = { command: 'token revoke', results: [{ id, outcome: 'revoked' }] }
    print(format === 'json' ? `${JSON.stringify(result)}\n` : `Revoked ${id}\n`)
    return 0
  },
}
