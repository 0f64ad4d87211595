/** `nimbus encryption rotate-kek --all` for programs, between any two providers. */
import { listManifestFiles } from './encryption/directory.js'
import { holdDirectory } from './encryption/hold.js'
import { type KekResult, rotateKek } from './encryption/rotate-kek.js'
import type { KeyProvider } from './keys/provider.js'

export interface KeyRotationOptions {
  readonly from: KeyProvider
  readonly to: KeyProvider
  /** Everything but the writing: says what would be rotated, and what would fail. */
  readonly isDryRun?: boolean
  /** Looked at between batches. */
  readonly signal?: AbortSignal
}

/**
 * Wraps every file of a directory under the key of another provider, backups (`.bak`) too: only manifests change, in one step
 * each. One result a file, as it is done; a file that fails is left as it was and does not stop the rest. Files under the new key
 * are skipped, so the same call finishes what was interrupted.
 *
 * @throws NimbusError `file_busy` while a server or a command has the directory; what `to` throws when it is asked for its health.
 */
export async function* rotateKeys(directory: string, options: KeyRotationOptions): AsyncGenerator<KekResult> {
  const { from, to, isDryRun = false, signal } = options
  const held = holdDirectory(directory)
  try {
    await to.health?.()
    yield* rotateKek(await listManifestFiles(directory), { from, to, isDryRun, signal })
  } finally {
    held.release()
  }
}
