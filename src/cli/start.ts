/** `nimbus start`: serves until it is told to stop. */
import { constants } from 'node:os'
import { SETTINGS, flagSpec, type Setting, type SettingGroup } from '../config/settings.js'
import { resolveStartConfig } from '../config/start.js'
import { ERROR_CODES, toNimbusError } from '../errors.js'
import type { Command, HelpFlag, HelpSection } from './command.js'

export const start: Command = {
  usage: '[options]',
  description:
    'Serves the documents of all tenants in the data directory. A flag comes before its environment variable, and that ' +
    'before the config file. A setting of a provider that is not selected is refused.',
  sections: settingSections(),
  async run(argv, { env, print }) {
    const config = resolveStartConfig(argv, env)
    const { createLogger, describeForLog, runServer } = await import('../server/run.js')
    const log = createLogger()
    // What nobody foresaw may have left anything half done in memory; the files are sound at any instant.
    process.on('uncaughtException', (error) => {
      log.fatal({ error: describeForLog(toNimbusError(error)) }, 'unexpected failure')
      process.exit(ERROR_CODES.internal.exitCode)
    })
    try {
      const server = await runServer(config, log)
      const stopped = untilSignalled()
      print(`nimbus listening on ${server.url}\n`)
      log.info({ signal: await stopped }, 'stopping')
      await server.stop()
      log.info('stopped')
      return 0
    } finally {
      log.flush()
    }
  },
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process at once, as an interruption. */
function untilSignalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let stopping = false
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(128 + constants.signals[signal])
        stopping = true
        resolve(signal)
      })
    }
  })
}

function settingSections(): HelpSection[] {
  const groups = [...new Set(SETTINGS.map(({ group }): SettingGroup => group))]
  return groups.map((title) => ({
    title,
    flags: SETTINGS.filter(({ group }) => group === title).map(helpFlag),
  }))
}

function helpFlag(setting: Setting): HelpFlag {
  const { choices, served, fallback, shownDefault, variable, key } = setting
  const notes: string[] = []
  if (choices !== undefined) notes.push(`One of ${choices.join(', ')}.`)
  if (served !== undefined) notes.push(`Available in this version: ${served.join(', ')}.`)
  const byDefault = shownDefault ?? fallback
  if (byDefault !== undefined) notes.push(`Default: ${byDefault}`)
  const names = [variable, key].filter((name) => name !== null)
  if (names.length > 0) notes.push(`Also: ${names.join(', ')}`)
  return { ...flagSpec(setting), notes }
}
