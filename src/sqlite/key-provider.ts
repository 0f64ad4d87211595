/** The option `keyProvider`: a provider, or the settings of one of nimbus' own, which is then opened for one file and closed again. */
import { dirname, resolve } from 'node:path'
import type { EncryptionConfig } from '../config/storage.js'
import { openKeyProvider, openKeyProviderAtOnce } from '../keys/open.js'
import type { KeyProvider } from '../keys/provider.js'
import { optionOf } from '../native.js'
import { custodyAtOnceOf, custodyOf, provide, ProvidedFile, type ProvidedRequest } from './provided.js'
import { atOnce, waiting } from './waiting.js'

/** A provider that stays its owner's, or the settings of a built-in one. */
export type KeyProviderOption = KeyProvider | EncryptionConfig

/** The file's key, from a provider that can be asked without waiting. @throws TypeError for any other; as `provide` */
export function providedAtOnce(request: ProvidedRequest, given: unknown): ProvidedFile {
  // What `Database.open` has waited for.
  if (given instanceof ProvidedFile) return given
  const option = checked(given)
  const provider = isSettings(option) ? openKeyProviderAtOnce(option, directoryOf(request)) : option
  if (provider?.atOnce === undefined) {
    throw new TypeError('This key provider answers later: use `await Database.open(path, { keyProvider })`')
  }
  try {
    return atOnce(provide(request, custodyAtOnceOf(request, provider, provider.atOnce)))
  } finally {
    if (provider !== option) provider.close()
  }
}

/** The file's key, from any provider. @throws as `provide` */
export async function providedLater(request: ProvidedRequest, given: unknown): Promise<ProvidedFile> {
  const option = checked(given)
  const provider = isSettings(option) ? await openKeyProvider(option, directoryOf(request)) : option
  try {
    return await waiting(provide(request, custodyOf(request, provider)))
  } finally {
    if (provider !== option) provider.close()
  }
}

/** Where a key may not lie. */
function directoryOf({ path }: ProvidedRequest): string[] {
  return [dirname(resolve(path))]
}

const SETTINGS = { 'master-key-file': 'masterKeyFile', 'key-dir': 'keyDir', 'aws-kms': 'keyId' } as const

function checked(given: unknown): KeyProviderOption {
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

function isSettings(given: unknown): given is EncryptionConfig {
  if (typeof given !== 'object' || given === null) return false
  const provider = optionOf(given, 'provider')
  return Object.entries(SETTINGS).some(
    ([name, setting]) => provider === name && typeof optionOf(given, setting) === 'string',
  )
}
