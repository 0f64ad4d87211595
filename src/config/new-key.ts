/** Which KEK a rotation goes to: flags of the command, made from the settings that name the present one. */
import { NimbusError } from '../errors.js'
import type { FlagSpec, ParsedFlags } from './flags.js'
import { SETTINGS, flagSpec, type Setting } from './settings.js'
import { settle } from './settle.js'
import { type EncryptionConfig, storageConfig } from './storage.js'

const SELECTOR = 'encryption_key_provider'
const ENCRYPTION: readonly Setting[] = SETTINGS.filter(({ group }) => group === 'Encryption')

/** `--encryption-master-key-file` of the server is `--new-master-key-file` here, and so on. */
export const NEW_KEY_FLAGS: readonly FlagSpec[] = ENCRYPTION.map((setting) => ({
  ...flagSpec(setting),
  flag: newFlag(setting),
  help:
    setting.name === SELECTOR
      ? 'The provider of the new key. Not needed where exactly one of the keys below is given.'
      : setting.help,
}))

/**
 * The provider is inferred if exactly one key is named.
 *
 * @throws NimbusError `usage`, naming the flags as the user typed them; `config_invalid` for their values.
 */
export function resolveNewEncryption(flags: ParsedFlags): EncryptionConfig {
  const given = ENCRYPTION.filter((setting) => flags.has(newFlag(setting)))
  const provider = flags.get(newFlag(selector())) ?? inferred(given)
  const choices = selector().choices ?? []
  if (typeof provider !== 'string' || !choices.includes(provider)) {
    throw usage(`--new-key-provider must be one of ${choices.join(', ')}`)
  }
  for (const setting of given) {
    const owner = setting.belongsTo?.value
    if (owner === undefined || owner === provider) continue
    throw usage(`${newFlag(setting)} belongs to ${owner}, and the new provider is ${provider}`)
  }
  for (const setting of ENCRYPTION) {
    if (setting.required !== true || setting.belongsTo?.value !== provider || given.includes(setting)) continue
    throw usage(`--new-key-provider ${provider} needs ${newFlag(setting)}`)
  }
  const asServer = new Map(given.map((setting) => [setting.flag, flags.get(newFlag(setting)) ?? true]))
  const { encryption } = storageConfig(settle(new Map([...asServer, [selector().flag, provider]]), {}))
  if (encryption === undefined) throw new TypeError(`no encryption comes of the provider ${provider}`)
  return encryption
}

function inferred(given: readonly Setting[]): string {
  const keys = given.filter(({ required }) => required === true)
  const [only] = keys
  if (keys.length === 1 && only?.belongsTo !== undefined) return only.belongsTo.value
  const names = ENCRYPTION.filter(({ required }) => required === true).map(newFlag)
  throw usage(
    keys.length === 0
      ? `the new key is not named: give one of ${names.join(', ')}`
      : `${keys.map(newFlag).join(' and ')} name two keys: give one of them, or --new-key-provider`,
  )
}

function selector(): Setting {
  const found = ENCRYPTION.find(({ name }) => name === SELECTOR)
  if (found === undefined) throw new TypeError(`there is no setting ${SELECTOR}`)
  return found
}

function newFlag({ flag }: Setting): string {
  return flag.replace('--encryption-', '--new-')
}

function usage(message: string): NimbusError {
  return new NimbusError('usage', message, { remediation: 'Run `nimbus encryption rotate-kek --help`.' })
}
