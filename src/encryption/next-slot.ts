/** The DEK that follows the one of a file. */
import type { KeyProvider } from '../keys/provider.js'
import { type Slot, bindingOf } from '../manifest/manifest.js'
import { type Dek, randomBytes } from '../native.js'
import type { Protected } from './unlock.js'

/** A fresh DEK, wrapped, of the next generation, for a file that will bear `fileId`. The caller closes it. */
export async function nextSlot(
  { manifest }: Protected,
  fileId: Uint8Array,
  provider: KeyProvider,
): Promise<{ slot: Slot; dek: Dek }> {
  const { current } = manifest
  const generation = current.generation + 1n
  const salt = randomBytes(32)
  const made = await provider.newDek({ ...bindingOf(manifest, current), fileId, generation, salt })
  const { dek, keyId, hint, wrapped } = made
  const commitment = dek.commitment(salt)
  return { slot: { generation, fileId, provider: provider.kind, hint, keyId, salt, commitment, wrapped }, dek }
}
