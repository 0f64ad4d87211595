/** Writes until the disk refuses, and says what was acknowledged and what came after: `full.ts <file> <plain | sealed>`. */
import { writeSync } from 'node:fs'
import { NimbusError } from '../../../src/errors.js'
import { KvStore } from '../../../src/native.js'
import { knownEncryption } from '../known.js'

const [file = '', form = ''] = process.argv.slice(2)
const store = KvStore.open({
  path: file,
  mode: 'create',
  encryption: form === 'sealed' ? knownEncryption() : undefined,
})
const say = (line: string) => writeSync(1, `${line}\n`)
const codeOf = (error: unknown) => (error instanceof NimbusError ? error.code : String(error))
const row = (number: number) => ({
  table: 't',
  key: new Uint8Array(Buffer.from(String(number).padStart(6, '0'))),
  value: new Uint8Array(20_000).fill(number),
})
const failures: string[] = []
for (let number = 0; failures.length === 0; number += 2) {
  const writes = await Promise.allSettled([number, number + 1].map((number) => store.write([row(number)])))
  for (const [index, write] of writes.entries()) {
    if (write.status === 'fulfilled') say(`acknowledged ${String(number + index)}`)
    else failures.push(codeOf(write.reason))
  }
}
say(`refused ${failures.join(' ')}`)
await store.write([row(1)]).catch((error: unknown) => say(`later ${codeOf(error)}`))
await store.close().then(
  () => say('closed'),
  (error: unknown) => say(`closed with ${codeOf(error)}`),
)
