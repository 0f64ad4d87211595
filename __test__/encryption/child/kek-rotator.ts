/**
 * Rotates the KEK of files on a disk that kills the process at its n-th change (0: never), and says what became of each.
 *
 *     kek-rotator.ts <old key> <new key> <kill at> <moment> <file>...
 */
import { rotateKek } from '../../../src/encryption/rotate-kek.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import { type Moment, mortalDisk } from './mortal-disk.js'

const [oldKey = '', newKey = '', killAt = '', moment = '', ...paths] = process.argv.slice(2)
const from = await openMasterKeyFile(oldKey, [])
const to = await openMasterKeyFile(newKey, [])
const disk = mortalDisk(Number(killAt), moment as Moment)
process.stdout.write('begun\n')
for await (const { outcome } of rotateKek(paths, { from, to, isDryRun: false, disk })) {
  process.stdout.write(`${outcome}\n`)
}
