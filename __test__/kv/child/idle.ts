/** Ends by itself, after everything that was asked for, with a store that nobody closed: `idle.ts <file>`. */
import { KvStore } from '../../../src/native.js'

const store = KvStore.open({ path: process.argv[2] ?? '', mode: 'create' })
const key = new Uint8Array([1])
store.snapshot()
void store.write([{ table: 't', key, value: key }]).then(async () => {
  const range = await store.snapshot().rangeAsync('t', { limit: 10, mostBytes: 1000 })
  console.log('answered', range.pairs.length)
})
