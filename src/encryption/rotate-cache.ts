/**
 * Another DEK for a libSQL replica cache: what it holds is the primary's, so it is thrown away and not rewritten.
 *
 * | stopped after               | on the disk                              | the next command                | the server               |
 * |-----------------------------|------------------------------------------|---------------------------------|--------------------------|
 * | removing the files, in part | manifest, the old key; the rest of them  | removes the rest, then the same | rebuilds the cache       |
 * | removing all of them        | manifest, the old key                    | writes the manifest             | rebuilds the cache       |
 * | the manifest                | manifest, the new key                    | rotates again                   | rebuilds the cache       |
 *
 * The manifest comes last: a file under the old key beside a manifest of the new one would be an error and not a cache to rebuild.
 */
import type { KeyProvider } from '../keys/provider.js'
import { type Disk, manifestPathOf } from '../manifest/file.js'
import { randomBytes } from '../native.js'
import { nextSlot } from './next-slot.js'
import { dataFilesOf, sealed } from './protect.js'
import type { Protected } from './unlock.js'

/** @throws what the provider throws, before anything is removed; `disk_full`, `io_error`: the same command goes on. */
export async function rotateCache(file: Protected, provider: KeyProvider, disk: Disk): Promise<void> {
  const { path, manifest } = file
  const { slot, dek } = await nextSlot(file, randomBytes(16), provider)
  try {
    for (const part of dataFilesOf(path, 'libsql_cache')) disk.removeFileDurably(part)
    const rotatedAt = new Date().toISOString()
    disk.replaceFile(
      manifestPathOf(path),
      sealed({ ...manifest, state: 'active', rotatedAt, current: slot, next: null }, dek),
    )
  } finally {
    dek.close()
  }
}
