/** What a start does with a file that an interrupted creation, deletion or rotation left behind. */
import type { KeyProvider } from '../keys/provider.js'
import { type Disk, nativeDisk } from '../manifest/file.js'
import type { Manifest, RotatingManifest } from '../manifest/manifest.js'
import { removeProtected } from './protect.js'
import { type RekeyEngine, nativeEngine } from './rekey-engine.js'
import { type RotationEnd, settleRotation } from './settle-rotation.js'
import type { Protected } from './unlock.js'

export interface SettleOptions {
  readonly disk?: Disk | undefined
  readonly engine?: RekeyEngine | undefined
  /** Told how a rotation ended that was found interrupted: the operator should know. */
  readonly onRotation?: ((path: string, end: RotationEnd) => void) | undefined
}

/**
 * Finishes what was interrupted; the manifest is authenticated, or anybody who can write to the disk could have a file
 * deleted by editing one word.
 *
 * | state      | what happened                                     | what is done                                    |
 * |------------|---------------------------------------------------|-------------------------------------------------|
 * | `active`   | nothing                                           | nothing: the same object comes back             |
 * | `creating` | stopped before the creation was acknowledged      | data removed, then the manifest                 |
 * | `deleting` | stopped in the middle of a deletion               | data removed, then the manifest                 |
 * | `rotating` | stopped in the middle of a rotation               | finished or undone: `settle-rotation.ts`        |
 *
 * @returns the file, or `undefined` if there is none any more.
 * @throws what the disk and, of a rotation, `settleRotation` throw; `file.dek` is open then.
 */
export async function settle(
  file: Protected,
  provider: KeyProvider,
  { disk = nativeDisk, engine = nativeEngine, onRotation }: SettleOptions = {},
): Promise<Protected | undefined> {
  if (isRotating(file)) {
    const { file: settled, outcome } = await settleRotation(file, provider, disk, engine)
    onRotation?.(file.path, outcome)
    return settled
  }
  if (file.manifest.state === 'active') return file
  await removeProtected(file, disk)
  return undefined
}

function isRotating(file: Protected & { manifest: Manifest }): file is Protected & { manifest: RotatingManifest } {
  return file.manifest.state === 'rotating'
}
