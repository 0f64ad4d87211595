/**
 * One store in a process of its own: `trial.mjs <store> <folder> <value bytes> <rows>` fills it, reads until it is warm, measures, and
 * prints operations per second as JSON.
 */
import { createHash } from 'node:crypto'
import { stores } from './stores.mjs'

const [name, folder, ...sizes] = process.argv.slice(2)
const [valueBytes, rows] = sizes.map(Number)
const rowsPerTransaction = 1000
const pairsPerRange = 1000
const gets = 200_000
const ranges = Math.min(300, (3 * rows) / pairsPerRange)
/** With which keys ranges begin: behind each beginning there are enough pairs. */
const firstBytes = Math.floor(255 * (1 - (1.2 * pairsPerRange) / rows))

/** Keys in no order, the same for every store. */
const keyOf = (number) => createHash('sha256').update(String(number)).digest().subarray(0, 16)
const keys = Array.from({ length: rows }, (_, number) => keyOf(number))
const value = Buffer.alloc(valueBytes, 'the value of a row ')
const random = randomNumbers(1)

const store = await stores[name](folder)
const put = await perSecond(rows, async () => {
  for (let start = 0; start < rows; start += rowsPerTransaction) {
    await store.putAll(keys.slice(start, start + rowsPerTransaction).map((key) => [key, value]))
  }
})
readAll(gets)
const get = await perSecond(gets, async () => readAll(gets))
await walk(ranges)
const range = await perSecond(ranges * pairsPerRange, () => walk(ranges))
await store.close()
console.log(JSON.stringify({ put, get, range }))

function readAll(count) {
  for (let read = 0; read < count; read++) {
    if (store.get(keys[random(rows)])?.length !== valueBytes) throw new Error('a key is missing')
  }
}

async function walk(count) {
  const ordered = Buffer.from('7f'.repeat(16), 'hex')
  for (let walked = 0; walked < count; walked++) {
    ordered[0] = random(firstBytes)
    const range = store.range(ordered, pairsPerRange)
    const pairs = Symbol.iterator in range ? lengthOf(range) : await lengthOfLater(range)
    if (pairs !== pairsPerRange) throw new Error(`a range of ${pairs} pairs`)
  }
}

function lengthOf(range) {
  const iterator = range[Symbol.iterator]()
  let length = 0
  while (iterator.next().done !== true) length++
  return length
}

async function lengthOfLater(range) {
  const iterator = range[Symbol.asyncIterator]()
  let length = 0
  while ((await iterator.next()).done !== true) length++
  return length
}

async function perSecond(operations, work) {
  const startedAt = performance.now()
  await work()
  return (operations * 1000) / (performance.now() - startedAt)
}

/** Numbers below a bound, the same in every process (xorshift32). */
function randomNumbers(seed) {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}
