/** `nimbus token rotate`: replaces the admin token; a running server follows without a restart. */
import { parseFlags } from '../config/flags.js'
import { TOKEN_FLAGS, resolveTokenFile } from '../config/token-file.js'
import { rotateAdminToken } from '../server/admin-token.js'
import type { Command } from './command.js'

export const tokenRotate: Command = {
  usage: '[--auth-token-file <path>]',
  description:
    'Replaces the admin token by a new one, in one step. A running server accepts the new token at once, and the old one ' +
    'for a second at most. The token itself is never printed: read it from the file.',
  sections: [{ title: 'Options', flags: TOKEN_FLAGS }],
  async run(argv, { env, format, print }) {
    const path = resolveTokenFile(parseFlags('nimbus token rotate', argv, TOKEN_FLAGS), env)
    rotateAdminToken(path)
    const result = { command: 'token rotate', results: [{ path, outcome: 'rotated' }] }
    print(format === 'json' ? `${JSON.stringify(result)}\n` : `The new admin token is in ${path}\n`)
    return 0
  },
}
