/** Opening off the JavaScript thread. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { KvStore } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'

const ADDON = resolve(`nimbus.${process.platform}-${process.arch}-gnu.node`)
const VALUES = 40
const VALUE_BYTES = 1024 * 1024

/** Fills a store and dies without closing it. */
const CHILD = `
  const addon = require(process.argv[1])
  const options = { path: process.argv[2], create: true }
  const store = addon.NativeKvStore.open(options, ([{ failure }]) => {
    if (failure) throw failure
    process.kill(process.pid, 'SIGKILL')
  })
  const layout = new Uint32Array(Array.from({ length: ${VALUES} }, () => [0, 1, ${VALUE_BYTES}]).flat())
  const bytes = Buffer.concat(Array.from({ length: ${VALUES} }, (_, n) => [Buffer.of(n), Buffer.alloc(${VALUE_BYTES}, n)]).flat())
  store.write(1, { dropTables: [], tables: ['t'], layout, bytes, eventual: false })
  setInterval(() => undefined, 1000)
`

it('lets the event loop turn while a file that was not closed is read whole', async () => {
  const path = join(temporaryDirectory(), 'a.redb')
  const child = spawnSync(process.execPath, ['-e', CHILD, ADDON, path], { encoding: 'utf8' })
  expect(child.signal, child.stderr).toBe('SIGKILL')
  let opened: KvStore | undefined
  const opening = KvStore.openAsync({ path, mode: 'open' }).then((store) => (opened = store))
  let turns = 0
  while (opened === undefined && turns < 1_000_000) {
    await setImmediate()
    turns += 1
  }
  const store = await opening
  expect(turns).toBeGreaterThan(20)
  for (let n = 0; n < VALUES; n += 1) expect(store.get('t', Uint8Array.of(n))?.at(-1)).toBe(n)
  await store.write([{ table: 't', key: Uint8Array.of(255), value: Uint8Array.of(1) }])
  await store.close()
})

it('rejects with what the synchronous opening throws, and makes nothing', async () => {
  const path = join(temporaryDirectory(), 'none.redb')
  await expect(KvStore.openAsync({ path, mode: 'open' })).rejects.toMatchObject({ code: 'data_missing', path })
  expect(existsSync(path)).toBe(false)
  const made = await KvStore.openAsync({ path, mode: 'create' })
  await expect(KvStore.openAsync({ path, mode: 'open' })).rejects.toMatchObject({
    code: 'file_busy',
    detail: { owner_pid: process.pid },
  })
  await made.close()
})
