/** What the option `keyProvider` of a `Database` brings: the file's key, at once or later. */
import { dirname, resolve } from 'node:path'
import { openKeyProviderAtOnce } from '../keys/open.js'
import { isSettings, keyProviderOption, withKeyProvider } from '../keys/option.js'
import { custodyAtOnceOf, custodyOf, provide, ProvidedFile, type ProvidedRequest } from './provided.js'
import { atOnce, waiting } from './waiting.js'

/** The file's key, from a provider that can be asked without waiting. @throws TypeError for any other; as `provide` */
export function providedAtOnce(request: ProvidedRequest, given: unknown): ProvidedFile {
  // What `Database.open` has waited for.
  if (given instanceof ProvidedFile) return given
  const option = keyProviderOption(given)
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
  return withKeyProvider(given, directoryOf(request), (provider) =>
    waiting(provide(request, custodyOf(request, provider))),
  )
}

/** Where a key may not lie. */
function directoryOf({ path }: ProvidedRequest): string[] {
  return [dirname(resolve(path))]
}
