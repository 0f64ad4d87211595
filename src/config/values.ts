/** Turns what a source says about one setting into its value, or refuses it by name. */
import path from 'node:path'
import { NimbusError } from '../errors.js'
import { namesOf, type Setting } from './settings.js'

export type SettingValue = string | number | boolean

export interface Given {
  readonly raw: unknown
  readonly source: 'flag' | 'environment' | 'file'
  /** How messages name the place: `--port`, `NIMBUS_DATA_DIR`, `data_dir in /etc/nimbus.json`. */
  readonly place: string
  /** What relative paths are relative to: the working directory, or the directory of the config file. */
  readonly base: string
}

const LARGEST_PORT = 65_535
const LARGEST_COUNT = 100_000

export function parseValue(setting: Setting, given: Given): SettingValue {
  switch (setting.kind) {
    case 'switch':
      return given.raw === true
    case 'port':
      return wholeNumber(setting, given, LARGEST_PORT)
    case 'count':
      return wholeNumber(setting, given, LARGEST_COUNT)
    case 'path':
      return path.resolve(given.base, text(setting, given))
    case 'url':
      return url(setting, given)
    case 'choice':
      return choice(setting, given)
    case 'text':
      return text(setting, given)
  }
}

function text(setting: Setting, given: Given): string {
  const { raw } = given
  if (typeof raw !== 'string') throw invalid(setting, given, 'must be a string')
  if (raw === '') throw invalid(setting, given, 'must not be empty')
  if (raw.includes('\0')) throw invalid(setting, given, 'must not contain a NUL character')
  return raw
}

function url(setting: Setting, given: Given): string {
  const value = text(setting, given)
  if (!URL.canParse(value)) throw invalid(setting, given, 'must be a URL')
  return value
}

/** Environments often know underscores only, so `master_key_file` names `master-key-file` there. */
function choice(setting: Setting, given: Given): string {
  const value = text(setting, given)
  const wanted = given.source === 'environment' ? value.replaceAll('_', '-') : value
  const choices = setting.choices ?? []
  if (!choices.includes(wanted)) throw invalid(setting, given, `must be one of ${choices.join(', ')}`)
  return wanted
}

/** The file has numbers of its own; the other sources have digits only. */
function wholeNumber(setting: Setting, given: Given, largest: number): number {
  const value = given.source === 'file' ? given.raw : parseDigits(given.raw)
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > largest) {
    throw invalid(setting, given, `must be a whole number from 0 to ${largest}`)
  }
  return value
}

function parseDigits(raw: unknown): number | undefined {
  return typeof raw === 'string' && /^(?:0|[1-9][0-9]{0,8})$/.test(raw) ? Number(raw) : undefined
}

function invalid(setting: Setting, given: Given, rule: string): NimbusError {
  const shown = setting.secret === true || typeof given.raw !== 'string' ? '' : `, not ${JSON.stringify(given.raw)}`
  return new NimbusError('config_invalid', `${given.place} ${rule}${shown}`, {
    remediation: `Correct ${namesOf(setting)}; docs/configuration.md describes it.`,
  })
}
