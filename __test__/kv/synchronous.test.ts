import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Store, json, utf8, type StoreOptions } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'

const NUMBERS = { keys: utf8, values: json<number>() }
const key = () => new Uint8Array(32).fill(7)

const forms: { name: string; secrets: () => Omit<StoreOptions, 'path'> }[] = [
  { name: 'plain', secrets: () => ({}) },
  { name: 'keyed', secrets: () => ({ key: key() }) },
]

async function open(secrets: Omit<StoreOptions, 'path'>) {
  const store = await Store.open({ path: path.join(temporaryDirectory(), 'app.redb'), ...secrets })
  onTestFinished(() => store.close())
  return { store, table: store.table('numbers', NUMBERS) }
}

describe.each(forms)('a synchronous write of a $name store', ({ secrets }) => {
  it('is seen when it returns', async () => {
    const { store, table } = await open(secrets())
    table.putSync('a', 1)
    expect(table.get('a')).toBe(1)
    store.batch().put(table, 'b', 2).del(table, 'a').writeSync()
    expect(table.getMany(['a', 'b'])).toEqual([undefined, 2])
    table.delSync('b')
    expect([...table.range()]).toEqual([])
    const before = store.transactionSync((transaction) => {
      transaction.put(table, 'c', 3)
      return transaction.get(table, 'b') ?? 'nothing'
    })
    expect([before, table.get('c')]).toEqual(['nothing', 3])
    table.putSync('d', 4, { durability: 'eventual' })
    expect(table.get('d')).toBe(4)
  })

  it('comes after what was asked for before it, and before what was asked for later', async () => {
    const { table } = await open(secrets())
    const order: string[] = []
    const first = table.put('a', 1).then(() => order.push('first'))
    table.putSync('a', 2)
    expect(table.get('a')).toBe(2)
    const later = table.put('a', 3).then(() => order.push('later'))
    expect(table.get('a')).toBe(2)
    await Promise.all([first, later])
    expect(order).toEqual(['first', 'later'])
    expect(table.get('a')).toBe(3)
  })

  it('is one of the serial transactions, also while others are being committed', async () => {
    const { store, table } = await open(secrets())
    const increment: Parameters<typeof store.transactionSync<number>>[0] = (transaction) => {
      const next = (transaction.get(table, 'n') ?? 0) + 1
      transaction.put(table, 'n', next)
      return next
    }
    const promised: Promise<number>[] = []
    const now: number[] = []
    for (let round = 0; round < 100; round++) {
      for (let n = 0; n < round % 5; n++) promised.push(store.transaction(increment))
      // Some rounds meet a commit under way, others only what waits.
      for (let n = 0; n < round % 3; n++) await turn()
      now.push(store.transactionSync(increment))
    }
    const all = [...(await Promise.all(promised)), ...now].sort((a, b) => a - b)
    expect(all).toEqual(Array.from({ length: all.length }, (_, index) => index + 1))
    expect(table.get('n')).toBe(all.length)
  })

  it('that throws has changed nothing, and what waited with it has happened', async () => {
    const { store, table } = await open(secrets())
    const waiting = table.put('kept', 1)
    const decided = () =>
      store.transactionSync((transaction) => {
        transaction.put(table, 'kept', 2)
        throw new RangeError('changed my mind')
      })
    expect(decided).toThrow(new RangeError('changed my mind'))
    expect(table.get('kept')).toBe(1)
    await waiting
    expect(() => store.transactionSync(async () => 1)).toThrow(TypeError)
  })

  it('is refused inside the function of a transaction, which goes on', async () => {
    const { store, table } = await open(secrets())
    const result = await store.transaction((transaction) => {
      expect(() => table.putSync('a', 1)).toThrow(/through what its function was given/)
      expect(() => store.transactionSync(() => 1)).toThrow(TypeError)
      transaction.put(table, 'b', 2)
      return 'decided'
    })
    expect([result, table.get('a'), table.get('b')]).toEqual(['decided', undefined, 2])
  })

  it('is refused when the store is closed', async () => {
    const { store, table } = await open(secrets())
    await store.close()
    expect(() => table.putSync('a', 1)).toThrow(expect.objectContaining({ code: 'shutting_down' }))
  })
})

it('is on the disk when it returns: a process that is killed then has lost nothing', async () => {
  const file = path.join(temporaryDirectory(), 'killed.redb')
  const program = `
    import { Store, json, utf8 } from ${JSON.stringify(pathToFileURL(path.resolve('dist/index.js')).href)}
    const store = await Store.open({ path: process.argv[1], key: new Uint8Array(32).fill(7) })
    const table = store.table('numbers', { keys: utf8, values: json() })
    for (let n = 0; n < 50; n++) table.putSync('n' + n, n)
    process.kill(process.pid, 'SIGKILL')
  `
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', program, file], { encoding: 'utf8' })
  expect([child.signal, child.stderr]).toEqual(['SIGKILL', ''])
  const store = await Store.open({ path: file, key: key(), mode: 'open' })
  onTestFinished(() => store.close())
  expect([...store.table('numbers', NUMBERS).range()].length).toBe(50)
})
