/**
 * Rotates the KEK of files on a disk that kills the process at its n-th change (0: never), and says what became of each.
 *
 *     kek-rotator.ts <old key> <new key> <kill at> <moment> <file>...
 */
import { rotateKek } from '../../../src/encryption/rotate-kek.js'
import { type Moment, mortalDisk } from './mortal-disk.js'
import { openKeys } from './keys.js'

const [oldKey = '', newKey = '', killAt = '', moment = '', ...paths] = process.argv.slice(2)
const from = await openKeys(oldKey)
const to = await openKeys(newKey)
const disk = mortalDisk(Number(killAt), moment as Moment)
process.stdout.write('begun\n')
for await (const { outcome } of rotateKek(paths, { from, to, isDryRun: false, disk })) {
  process.stdout.write(`${outcome}\n`)
}
