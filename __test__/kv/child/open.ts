/** Opens the file that a test holds and says how that ended: `open.ts <file>`. */
import { NimbusError } from '../../../src/errors.js'
import { KvStore } from '../../../src/native.js'

try {
  KvStore.open({ path: process.argv[2] ?? '', mode: 'open' })
  console.log('opened')
} catch (error) {
  if (!(error instanceof NimbusError)) throw error
  console.log(error.code, error.detail['owner_pid'])
}
