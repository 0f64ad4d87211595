/** The three places a setting can come from: the command line, the environment, the config file. */
import path from 'node:path'
import { NimbusError } from '../errors.js'
import { readConfigFile } from './file.js'
import type { ParsedFlags } from './flags.js'
import { nearest } from './nearest.js'
import { SETTINGS, type Setting } from './settings.js'
import type { Given } from './values.js'

export type Environment = Readonly<Record<string, string | undefined>>

export interface ConfigFile {
  readonly path: string
  readonly members: ReadonlyMap<string, unknown>
}

export function fromFlag(setting: Setting, flags: ParsedFlags): Given | undefined {
  const raw = flags.get(setting.flag)
  if (raw === undefined) return undefined
  return { raw, source: 'flag', place: setting.flag, base: process.cwd() }
}

/**
 * An empty variable counts as not set, as shells and compose files expect; not so where that would silently turn
 * encryption off.
 */
export function fromEnvironment(setting: Setting, env: Environment): Given | undefined {
  const { variable } = setting
  const raw = variable === null ? undefined : env[variable]
  if (variable === null || raw === undefined) return undefined
  if (raw === '') {
    if (setting.group !== 'Encryption' && setting.name !== 'config') return undefined
    throw new NimbusError('config_invalid', `${variable} is set but empty`, {
      remediation: `Give ${variable} a value, or unset it.`,
    })
  }
  return { raw, source: 'environment', place: variable, base: process.cwd() }
}

export function openConfigFile(file: string): ConfigFile {
  return { path: file, members: readConfigFile(file) }
}

export function fromFile(setting: Setting, file: ConfigFile | undefined): Given | undefined {
  if (setting.key === null || file?.members.has(setting.key) !== true) return undefined
  const place = `${setting.key} in ${file.path}`
  return { raw: file.members.get(setting.key), source: 'file', place, base: path.dirname(file.path) }
}

/** A misspelt variable would leave encryption off without a word. */
export function refuseUnknownEncryptionVariables(env: Environment): void {
  const known = SETTINGS.flatMap(({ variable }): string[] => (variable === null ? [] : [variable]))
  for (const name of Object.keys(env)) {
    if (!name.startsWith('NIMBUS_ENCRYPTION') || known.includes(name)) continue
    const guess = nearest(name, known)
    const remediation = guess === undefined ? `Unset ${name}.` : `Did you mean ${guess}?`
    throw new NimbusError('config_invalid', `there is no variable ${name}`, { remediation })
  }
}
