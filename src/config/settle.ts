/** Settles what holds for every setting: flag before environment before file before fallback. */
import path from 'node:path'
import type { ParsedFlags } from './flags.js'
import { checkProviders } from './providers.js'
import { SETTINGS, settingNamed, type Setting, type SettingName } from './settings.js'
import {
  fromEnvironment,
  fromFile,
  fromFlag,
  openConfigFile,
  refuseUnknownEncryptionVariables,
  type Environment,
} from './sources.js'
import { parseValue, type Given, type SettingValue } from './values.js'

export function settle(flags: ParsedFlags, env: Environment): Settled {
  refuseUnknownEncryptionVariables(env)
  const config = settingNamed('config')
  const configGiven = fromFlag(config, flags) ?? fromEnvironment(config, env)
  const file = configGiven === undefined ? undefined : openConfigFile(String(parseValue(config, configGiven)))

  const given = new Map<string, Given>()
  const settled = new Map<string, SettingValue>()
  for (const setting of SETTINGS) {
    const source = fromFlag(setting, flags) ?? fromEnvironment(setting, env) ?? fromFile(setting, file)
    if (source !== undefined) given.set(setting.name, source)
    const value = source === undefined ? fallbackOf(setting) : parseValue(setting, source)
    if (value !== undefined) settled.set(setting.name, value)
  }
  checkProviders(given, settled)
  return new Settled(settled)
}

/** Typed access to what was settled; a setting that nobody set has its fallback. */
export class Settled {
  readonly #settled: ReadonlyMap<string, SettingValue>

  constructor(settled: ReadonlyMap<string, SettingValue>) {
    this.#settled = settled
  }

  text(name: SettingName, otherwise?: () => string): string {
    const value = this.optionalText(name) ?? otherwise?.()
    if (value === undefined) throw new TypeError(`the setting ${name} has neither a value nor a fallback`)
    return value
  }

  optionalText(name: SettingName): string | undefined {
    const value = this.#settled.get(name)
    return typeof value === 'string' ? value : undefined
  }

  number(name: SettingName): number {
    return Number(this.#settled.get(name))
  }

  isSet(name: SettingName): boolean {
    return this.#settled.get(name) === true
  }
}

function fallbackOf(setting: Setting): SettingValue | undefined {
  if (setting.kind === 'path' && typeof setting.fallback === 'string') return path.resolve(setting.fallback)
  return setting.fallback
}
