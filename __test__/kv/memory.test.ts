/** Memory is a budget of the process, not of a file. */
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../support/directory.js'

/** The child uses the addon directly: what a transpiler takes is not to be measured. */
const ADDON = resolve(`nimbus.${process.platform}-${process.arch}-gnu.node`)
const STORES = 1000
const ROWS = 500
const BUDGET_MIB = 64

/** Opens copies of a sealed file of 300 KiB, uses each, and tells how large the process was at each step. */
const CHILD = `
  const { copyFileSync, readFileSync } = require('node:fs')
  const addon = require(process.argv[1])
  addon.setPageCacheBudget(${BUDGET_MIB} * 2 ** 20, ${BUDGET_MIB} * 2 ** 20)
  const mebibytes = () => Number(/VmRSS:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
  const encryption = { dek: addon.Dek.generate(), fileId: addon.randomBytes(16), generation: 1n }
  const waiting = []
  const answered = () => new Promise((resolve) => waiting.push(resolve))
  const open = (path, create) => addon.NativeKvStore.open({ path, create, ...encryption }, (completions) => {
    for (const { failure } of completions) {
      if (failure) throw failure
      waiting.shift()()
    }
  })
  const KEY_BYTES = 3
  const write = (store, keys, valueBytes) => {
    const layout = new Uint32Array(keys.flatMap(() => [0, KEY_BYTES, valueBytes]))
    const bytes = Buffer.concat(keys.flatMap((key) => [Buffer.from(key), Buffer.alloc(valueBytes, key)]))
    store.write(1, { dropTables: [], tables: ['t'], layout, bytes, eventual: false })
    return answered()
  }
  const scratch = new Uint8Array(1024)
  const read = (store, key) => {
    scratch.set(Buffer.from(key))
    if (store.get('t', scratch, KEY_BYTES) !== 500) throw new Error(key + ' is not there')
  }
  const keys = Array.from({ length: ${ROWS} }, (_, n) => String(n).padStart(KEY_BYTES, '0'))
  const main = async () => {
    setInterval(() => undefined, 1000)
    const [, , directory] = process.argv
    const said = { start: mebibytes() }
    const made = open(directory + '/first', true)
    await write(made, keys, 500)
    made.close(2)
    await answered()
    const names = Array.from({ length: ${STORES} }, (_, n) => directory + '/' + n)
    for (const name of names) copyFileSync(directory + '/first', name)
    const stores = names.map((name) => open(name, false))
    said.open = mebibytes()
    for (const store of stores) read(store, '007')
    said.read = mebibytes()
    await Promise.all(stores.map((store) => write(store, ['one'], 500)))
    said.written = mebibytes()
    for (const store of stores) for (const key of keys.filter((_, index) => index % 5 === 0)) read(store, key)
    said.all = mebibytes()
    console.log(JSON.stringify(said))
    process.exit()
  }
  main()
`

it('keeps a thousand open sealed stores under 200 MiB, and one budget for whatever they read', () => {
  const child = spawnSync(process.execPath, ['-e', CHILD, ADDON, temporaryDirectory()], { encoding: 'utf8' })
  expect(child.status, child.stderr).toBe(0)
  const said = JSON.parse(child.stdout) as Record<string, number>
  expect(said['open'], child.stdout).toBeLessThan(200)
  expect(said['read'], child.stdout).toBeLessThan(200)
  // 300 MiB of pages were read: without a budget it would all be there.
  expect(said['all'], child.stdout).toBeLessThan(200 + 2 * BUDGET_MIB)
}, 120_000)
