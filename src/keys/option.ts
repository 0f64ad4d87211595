/** The option `keyProvider` of the library: a provider, or the settings of one of nimbus' own, which is then opened for one file. */
import type { EncryptionConfig } from '../config/storage.js'
import { optionOf } from '../native.js'
import { openKeyProvider } from './open.js'
import type { KeyProvider } from './provider.js'

/** A provider that stays its owner's, or the settings of a built-in one. */
export type KeyProviderOption = KeyProvider | EncryptionConfig

/**
 * Lets `work` use the provider; one that was opened from settings is closed again.
 *
 * @param directories where its keys may not lie
 * @throws TypeError if it is neither a provider nor settings; as `openKeyProvider`
 */
export async function withKeyProvider<R>(
  given: unknown,
  directories: readonly string[],
  work: (provider: KeyProvider) => Promise<R>,
): Promise<R> {
  const option = keyProviderOption(given)
  const provider = isSettings(option) ? await openKeyProvider(option, directories) : option
  try {
    return await work(provider)
  } finally {
    if (provider !== option) provider.close()
  }
}

const SETTINGS = { 'master-key-file': 'masterKeyFile', 'key-dir': 'keyDir', 'aws-kms': 'keyId' } as const

/** @throws TypeError if it is neither a provider nor settings */
export function keyProviderOption(given: unknown): KeyProviderOption {
  if (isProvider(given) || isSettings(given)) return given
  throw new TypeError(
    'Expected the "keyProvider" option to be a key provider, or the settings of one: { provider: "master-key-file", masterKeyFile }, ' +
      '{ provider: "key-dir", keyDir } or { provider: "aws-kms", keyId }',
  )
}

function isProvider(given: unknown): given is KeyProvider {
  return (
    typeof given === 'object' &&
    given !== null &&
    typeof optionOf(given, 'kind') === 'string' &&
    ['newDek', 'unwrap', 'describe'].every((method) => typeof optionOf(given, method) === 'function')
  )
}

export function isSettings(given: unknown): given is EncryptionConfig {
  if (typeof given !== 'object' || given === null) return false
  const provider = optionOf(given, 'provider')
  return Object.entries(SETTINGS).some(
    ([name, setting]) => provider === name && typeof optionOf(given, setting) === 'string',
  )
}
