/**
 * Writes until it is killed, and says what was acknowledged.
 *
 *     storm.ts <file> <plain | sealed>
 */
import { writeSync } from 'node:fs'
import { KvStore } from '../../../src/native.js'
import { knownEncryption } from '../known.js'

const [file = '', form = ''] = process.argv.slice(2)
const store = KvStore.open({ path: file, mode: 'open', encryption: form === 'sealed' ? knownEncryption() : undefined })
const bytes = (text: string) => new Uint8Array(Buffer.from(text))
const start = Number(Buffer.from(store.get('t', bytes('last')) ?? bytes('0')))

/** Four writers at once, so that commits carry several writes. */
let next = start
async function write(): Promise<never> {
  for (;;) {
    const number = (next += 1)
    const operations = Array.from({ length: 1 + (number % 5) }, (_, index) => ({
      table: 't',
      key: bytes(`${String(number)}/${String(index)}`),
      value: bytes(`${String(number)} `.repeat(number % 300)),
    }))
    await store.write([...operations, { table: 't', key: bytes('last'), value: bytes(String(number)) }])
    writeSync(1, `${String(number)}\n`)
  }
}
await Promise.all([write(), write(), write(), write()])
