/** `nimbus token list`: the API tokens of a running server, revoked ones included. */
import { parseFlags } from '../config/flags.js'
import { AdminClient, CLIENT_FLAGS, isObject } from './admin-client.js'
import type { Command } from './command.js'
import { tableText } from './table-text.js'

const COLUMNS = ['id', 'prefix', 'name', 'tenants', 'access', 'created_at', 'expires_at', 'revoked_at'] as const

export const tokenList: Command = {
  usage: '[options]',
  description: 'Lists the API tokens of a running server in order of creation, by their first 12 characters.',
  sections: [{ title: 'Server', flags: CLIENT_FLAGS }],
  async run(argv, { env, format, print }) {
    const client = AdminClient.from(parseFlags('nimbus token list', argv, CLIENT_FLAGS), env)
    const tokens: Record<string, unknown>[] = []
    for (let after: string | undefined = ''; after !== undefined;) {
      const page = await client.request('GET', `/api/tokens?limit=1000${after === '' ? '' : `&after=${after}`}`)
      const { data, next_cursor: next } = isObject(page) ? page : {}
      if (Array.isArray(data)) tokens.push(...data.filter(isObject))
      after = typeof next === 'string' ? next : undefined
    }
    if (format === 'json') print(`${JSON.stringify({ data: tokens })}\n`)
    else if (tokens.length === 0) print('There are no API tokens.\n')
    else
      print(
        tableText(
          [...COLUMNS],
          tokens.map((token) => COLUMNS.map((column) => cellOf(token[column]))),
        ),
      )
    return 0
  },
}

function cellOf(value: unknown): string {
  if (Array.isArray(value)) return value.join(',')
  return typeof value === 'string' ? value : '-'
}
