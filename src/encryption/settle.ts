/** What a start does with a file that an interrupted creation or deletion left behind. */
import { type Disk, nativeDisk } from '../manifest/file.js'
import { removeProtected, rotationPending } from './protect.js'
import type { Protected } from './unlock.js'

/**
 * Finishes what was interrupted; the manifest is authenticated, or anybody who can write to the disk could have a file
 * deleted by editing one word.
 *
 * | state      | what happened                                     | what is done                        |
 * |------------|---------------------------------------------------|-------------------------------------|
 * | `active`   | nothing                                           | nothing: the same object comes back |
 * | `creating` | stopped before the creation was acknowledged      | data removed, then the manifest     |
 * | `deleting` | stopped in the middle of a deletion               | data removed, then the manifest     |
 * | `rotating` | stopped in the middle of a rotation               | refused, nothing touched            |
 *
 * @returns the file, or `undefined` if there is none any more.
 * @throws `unsupported_for_provider` for a pending rotation, which this version cannot finish and must not guess about.
 */
export async function settle(file: Protected, disk: Disk = nativeDisk): Promise<Protected | undefined> {
  switch (file.manifest.state) {
    case 'active':
      return file
    case 'creating':
    case 'deleting':
      await removeProtected(file, disk)
      return undefined
    case 'rotating':
      throw rotationPending(file.path)
  }
}
