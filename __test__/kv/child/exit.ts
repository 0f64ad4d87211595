/**
 * Ends while native threads work.
 *
 *     exit.ts <file> <exit | throw | end>
 */
import { KvStore } from '../../../src/native.js'

const [file = '', how = ''] = process.argv.slice(2)
const store = KvStore.open({ path: file, mode: 'create' })
const bytes = (text: string) => new Uint8Array(Buffer.from(text))
for (let number = 0; number < 2000; number++) {
  void store.write([{ table: 't', key: bytes(String(number)), value: bytes('x'.repeat(500)) }]).then(() => {
    if (number % 50 !== 0) return
    const snapshot = store.snapshot()
    void snapshot.rangeAsync('t', { limit: 1e6, mostBytes: 1e6 }).finally(() => snapshot.close())
  })
}
const end = {
  exit: () => process.exit(7),
  throw: () => {
    throw new Error('on purpose')
  },
  end: () => undefined,
}[how]
setTimeout(() => end?.(), Math.random() * 30)
