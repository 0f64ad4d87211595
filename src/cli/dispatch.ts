/** Finds out what the words of the command line ask for: a command, its help, the version. */
import { NimbusError } from '../errors.js'
import type { Context, Format } from './command.js'
import { COMMANDS, type CommandEntry } from './commands.js'

export type Run = (context: Context) => Promise<number>

/** Takes `--format human|json`, which every command knows, out of the words. */
export function takeFormat(argv: readonly string[]): [Format, string[]] {
  const words = [...argv]
  const at = words.findIndex((word) => word === '--format' || word.startsWith('--format='))
  if (at === -1) return ['human', words]
  const [word = ''] = words.splice(at, 1)
  const value = word === '--format' ? words.splice(at, 1)[0] : word.slice('--format='.length)
  if (value === 'human' || value === 'json') return [value, words]
  throw usage('--format must be human or json')
}

export async function findCommand(words: readonly string[]): Promise<Run> {
  const [first] = words
  if (first === '--version') return printVersion
  if (first === undefined) throw usage('no command is given')
  if (first === '--help' || first === '-h') return printOverview('')
  const entry = COMMANDS.find(({ name }) => startsWith(words, name.split(' ')))
  if (entry === undefined) return findGroup(words)
  const argv = words.slice(entry.name.split(' ').length)
  const command = await entry.load()
  if (!argv.includes('--help') && !argv.includes('-h')) return hardened((context) => command.run(argv, context))
  return async ({ print }) => {
    const { commandHelp } = await import('./help.js')
    print(commandHelp(entry.name, command))
    return 0
  }
}

/** No core dump and no other process reads what a command has in memory: keys and tokens. */
function hardened(run: Run): Run {
  return async (context) => {
    const { hardenProcess } = await import('../native.js')
    hardenProcess()
    return run(context)
  }
}

/** `nimbus encryption --help` lists the commands of the group; anything else is unknown. */
async function findGroup(words: readonly string[]): Promise<Run> {
  const [first = '', second] = words
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `))
  if (group.length > 0 && (second === '--help' || second === '-h')) return printOverview(first)
  const asked = group.length > 0 && second !== undefined ? `${first} ${second}` : first
  const { nearest } = await import('../config/nearest.js')
  const guess = nearest(
    asked,
    COMMANDS.map(({ name }) => name),
  )
  const help = group.length > 0 ? `nimbus ${first} --help` : 'nimbus --help'
  const remediation = guess === undefined ? `Run \`${help}\`.` : `Did you mean \`nimbus ${guess}\`?`
  const incomplete = group.length > 0 && second === undefined
  throw usage(
    incomplete ? `\`nimbus ${first}\` needs a command` : `there is no command ${JSON.stringify(asked)}`,
    remediation,
  )
}

function startsWith(words: readonly string[], name: readonly string[]): boolean {
  return name.every((word, index) => words[index] === word)
}

function printOverview(group: string): Run {
  const entries: readonly CommandEntry[] = COMMANDS.filter(({ name }) => name.startsWith(group))
  return async ({ print }) => {
    const { overview } = await import('./help.js')
    print(overview(entries))
    return 0
  }
}

const printVersion: Run = async ({ print }) => {
  const { readVersion } = await import('./version.js')
  print(`nimbus ${readVersion()}\n`)
  return 0
}

function usage(message: string, remediation = 'Run `nimbus --help`.'): NimbusError {
  return new NimbusError('usage', message, { remediation })
}
