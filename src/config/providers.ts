/** The rules between settings of providers: nothing foreign, nothing unserved, nothing missing. */
import { NimbusError } from '../errors.js'
import { SETTINGS, namesOf, settingNamed, type Setting } from './settings.js'
import type { Given, SettingValue } from './values.js'

export function checkProviders(given: ReadonlyMap<string, Given>, settled: ReadonlyMap<string, SettingValue>): void {
  for (const setting of SETTINGS) {
    const source = given.get(setting.name)
    if (source !== undefined) refuseForeign(setting, source, settled)
  }
  for (const setting of SETTINGS) refuseUnserved(setting, settled)
  for (const setting of SETTINGS) refuseMissing(setting, settled)
}

function refuseForeign(setting: Setting, source: Given, settled: ReadonlyMap<string, SettingValue>): void {
  const owner = setting.belongsTo
  if (owner === undefined) return
  const selected = settled.get(owner.setting)
  if (selected === owner.value) return
  const selector = settingNamed(owner.setting)
  const why =
    selected === undefined
      ? `${namesOf(selector)} is not given`
      : `it belongs to ${owner.value}, and ${namesOf(selector)} is ${String(selected)}`
  const where =
    source.source === 'flag' ? 'on the command line' : source.source === 'file' ? source.place : 'in the environment'
  throw new NimbusError('config_invalid', `${namesOf(setting)} is set (${where}), but ${why}`, {
    remediation: `Remove it, or select ${selector.flag} ${owner.value}.`,
  })
}

function refuseUnserved(setting: Setting, settled: ReadonlyMap<string, SettingValue>): void {
  const { served } = setting
  const selected = settled.get(setting.name)
  if (served === undefined || selected === undefined || served.some((name) => name === selected)) return
  throw new NimbusError('config_invalid', `${namesOf(setting)}: ${String(selected)} is not available in this version`, {
    remediation: `Select one that is: ${served.join(', ')}.`,
  })
}

function refuseMissing(setting: Setting, settled: ReadonlyMap<string, SettingValue>): void {
  const owner = setting.belongsTo
  if (setting.required !== true || owner === undefined || settled.has(setting.name)) return
  if (settled.get(owner.setting) !== owner.value) return
  const selector = settingNamed(owner.setting)
  throw new NimbusError('config_invalid', `${selector.flag} ${owner.value} needs ${namesOf(setting)}`, {
    remediation: `Give ${setting.flag}, or set it in the environment or the config file.`,
  })
}
