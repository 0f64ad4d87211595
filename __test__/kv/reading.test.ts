import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { NimbusError, Store, bytes, json, utf8, type Encoding, type Table } from '../../src/index.js'
import { openTables } from '../../src/native/kv-table.js'
import { temporaryDirectory } from '../support/directory.js'
import { failureOf } from '../support/failure.js'

const forms = [
  { name: 'plain', key: undefined },
  { name: 'sealed', key: new Uint8Array(32).fill(7) },
]
const BYTES = { keys: bytes, values: bytes }
/** Of what is read, so much shares one memory. */
const SHARED_BYTES = 8 * 1024

const keyOf = (number: number): Buffer => Buffer.from(String(number).padStart(8, '0'))

describe.each(forms)('what is read of a $name store', ({ key }) => {
  async function open(): Promise<Store> {
    const store = await Store.open({ path: path.join(temporaryDirectory(), 'app.redb'), key })
    onTestFinished(() => store.close())
    return store
  }

  async function filled(
    rows: number,
    valueBytes = 100,
  ): Promise<{ store: Store; table: Table<Uint8Array, Uint8Array> }> {
    const store = await open()
    const table = store.table('t', BYTES)
    const batch = store.batch()
    for (let row = 0; row < rows; row++) batch.put(table, keyOf(row), Buffer.alloc(valueBytes, row))
    await batch.write()
    return { store, table }
  }

  it('is the last commit, whoever committed it and how', async () => {
    const store = await open()
    const table = store.table('t', { keys: utf8, values: json<number>() })
    const same = store.table('t', { keys: utf8, values: json<number>() })
    const writes: ((value: number) => unknown)[] = [
      (value) => table.put('k', value),
      (value) => table.putSync('k', value),
      (value) => same.put('k', value, { durability: 'eventual' }),
      (value) => store.batch().put(same, 'k', value).write(),
      (value) => store.batch().put(table, 'k', value).writeSync(),
      (value) => store.transaction((transaction) => void transaction.put(table, 'k', value)),
      (value) => store.transactionSync((transaction) => void transaction.put(same, 'k', value)),
    ]
    expect(table.get('k')).toBeUndefined()
    for (let round = 0; round < 20; round++) {
      for (const [place, write] of writes.entries()) {
        const value = 100 * round + place
        await write(value)
        expect([table.get('k'), same.get('k')], `write ${place}`).toEqual([value, value])
      }
      await (round % 2 === 0 ? table.del('k') : same.clear())
      expect([table.get('k'), same.get('k')]).toEqual([undefined, undefined])
    }
  })

  it('is the last commit also while an older one is held', async () => {
    const { store, table } = await filled(1)
    const [before, after] = [Buffer.alloc(100, 0), Buffer.from('new')]
    expect(same(table.get(keyOf(0)), before)).toBe(true)
    const snapshot = store.snapshot()
    await table.put(keyOf(0), after)
    expect(same(table.get(keyOf(0)), after)).toBe(true)
    expect(same(snapshot.get(table, keyOf(0)), before)).toBe(true)
    snapshot.close()
    expect(() => snapshot.get(table, keyOf(0))).toThrow(TypeError)
    expect(same(table.get(keyOf(0)), after)).toBe(true)
  })

  it('is kept by nobody who only read it: its pages are used again', async () => {
    const { store, table } = await filled(2000)
    const rewrite = async () => {
      const batch = store.batch()
      for (let row = 0; row < 2000; row++) batch.put(table, keyOf(row), Buffer.alloc(100, row + 1))
      await batch.write()
    }
    await rewrite()
    table.get(keyOf(1))
    for (let round = 0; round < 3; round++) await rewrite()
    const { fileBytes } = store.stats
    for (let round = 0; round < 20; round++) await rewrite()
    expect(store.stats.fileBytes).toBeLessThanOrEqual(fileBytes)
    table.get(keyOf(1))
    await expect(store.check()).resolves.toMatchObject({ sound: true })
    await expect(store.compact()).resolves.toBeTypeOf('boolean')
    expect(table.get(keyOf(1))).toBeDefined()
  })

  it('is whole, however long key and value are', async () => {
    const store = await open()
    const table = store.table('t', BYTES)
    const lengths = [0, 1, 1024, 1025, 4095, 4096, 4097, 60 * 1024 - 1, 60 * 1024, 60 * 1024 + 1, 1024 * 1024]
    for (const keyBytes of [0, 1, 4095, 4096, 4097, 8192]) {
      const key = Buffer.alloc(keyBytes, 'key')
      for (const valueBytes of lengths) {
        const value = Buffer.alloc(valueBytes, `${keyBytes} and ${valueBytes} `)
        await table.put(key, value, { durability: 'eventual' })
        const read = {
          got: table.get(key),
          many: table.getMany([key])[0],
          ranged: [...table.range({ gte: key })][0]?.[1],
        }
        for (const [how, found] of Object.entries(read))
          expect(same(found, value), `${how}: a key of ${keyBytes}, a value of ${valueBytes}`).toBe(true)
      }
      await table.del(key)
    }
  })

  it('is the caller’s: nothing that is read or written later changes it, and it changes nothing', async () => {
    const { store, table } = await filled(500)
    const snapshot = store.snapshot()
    onTestFinished(() => snapshot.close())
    const numbers = Array.from({ length: 500 }, (_, row) => row)
    const kept = numbers.flatMap((row) => [table.get(keyOf(row)), snapshot.get(table, keyOf(row))])
    const many = table.getMany(numbers.map(keyOf))
    const ranged = [...table.range()]
    for (const value of [...kept.splice(0, 100), ...many.splice(0, 50), ...ranged.splice(0, 50).flat()])
      value?.fill(0xee)
    await table.clear()
    for (const [place, value] of kept.entries()) expect(same(value, Buffer.alloc(100, 50 + (place >> 1)))).toBe(true)
    for (const [place, value] of many.entries()) expect(same(value, Buffer.alloc(100, 50 + place))).toBe(true)
    for (const [place, [key, value]] of ranged.entries()) {
      expect(same(key, keyOf(50 + place))).toBe(true)
      expect(same(value, Buffer.alloc(100, 50 + place))).toBe(true)
    }
  })

  it('keeps 8 KiB at most when it is kept, or itself, and begins where 64-bit numbers may', async () => {
    const { store, table } = await filled(300, 99)
    const long = Buffer.alloc(5000, 'long')
    await table.put(keyOf(7), long)
    await table.put(keyOf(9), long)
    const snapshot = store.snapshot()
    onTestFinished(() => snapshot.close())
    const keys = Array.from({ length: 300 }, (_, row) => keyOf(row))
    const later: Uint8Array[] = []
    for await (const pair of table.range()) later.push(...pair)
    const read = [
      ...keys.flatMap((key) => [table.get(key), snapshot.get(table, key)]),
      ...table.getMany(keys),
      ...[...table.range()].flat(),
      ...later,
    ]
    for (const found of read) {
      const memory = found?.buffer.byteLength
      expect(memory).toBeLessThanOrEqual(SHARED_BYTES)
      if (found?.length === long.length) expect(memory).toBe(long.length)
      expect((found?.byteOffset ?? 1) % 8).toBe(0)
    }
  })

  it('does not share memory with what is too long to be shared', async () => {
    const { table } = await filled(3, 5000)
    for (const [key] of table.range()) expect(key.buffer.byteLength).toBe(key.length)
  })

  it('leaves no handle behind once the store is closed, nor when it is read again then', async () => {
    const before = openTables()
    const { store, table } = await filled(1)
    const another = store.table('u', BYTES)
    for (const of of [table, another]) of.get(keyOf(0))
    expect(openTables()).toBe(before + 2)
    await store.close()
    for (const of of [table, another]) expect(failureOf(() => of.get(keyOf(0))).code).toBe('shutting_down')
    expect(openTables()).toBe(before)
  })

  it('keeps no more than 256 tables ready, whatever names are read, and reads every one of them', async () => {
    const before = openTables()
    const { store, table } = await filled(1)
    for (let number = 0; number < 600; number++) {
      expect(store.table(`none ${number}`, BYTES).get(keyOf(0))).toBeUndefined()
    }
    expect(openTables()).toBe(before + 256)
    expect(same(table.get(keyOf(0)), Buffer.alloc(100, 0))).toBe(true)
    expect(openTables()).toBe(before + 256)
    await store.close()
    expect(openTables()).toBe(before)
  })

  it('shares no memory with what is read of another store', async () => {
    const [a, b] = [await filled(2), await filled(2)]
    expect(a.table.get(keyOf(1))?.buffer).not.toBe(b.table.get(keyOf(1))?.buffer)
  })

  it('may be transferred to another thread together with its neighbours, and reading goes on', async () => {
    const { table } = await filled(3)
    const found = table.get(keyOf(1))
    structuredClone(found, { transfer: [found?.buffer as ArrayBuffer] })
    for (const row of [0, 1, 2]) expect(same(table.get(keyOf(row)), Buffer.alloc(100, row))).toBe(true)
  })

  it('is right when an encoding reads of its own accord, and an error when it closes the store', async () => {
    const { store, table } = await filled(10)
    let meanwhile: (() => unknown) | undefined
    const meddling: Encoding<number> = {
      encode(row) {
        meanwhile?.()
        return keyOf(row)
      },
      decode: (stored) => Number(Buffer.from(stored).toString()),
    }
    const meddled = store.table('t', { keys: meddling, values: bytes })
    meanwhile = () => table.get(keyOf(9))
    expect(same(meddled.get(3), Buffer.alloc(100, 3))).toBe(true)
    let closing: Promise<void> | undefined
    meanwhile = () => (closing ??= store.close())
    // Closing has begun at most: the value or the refusal, and nothing else.
    const outcome = (() => {
      try {
        return same(meddled.get(4), Buffer.alloc(100, 4))
      } catch (error) {
        return error instanceof NimbusError && error.code
      }
    })()
    expect([true, 'shutting_down']).toContain(outcome)
    await closing
    for (const read of [() => table.get(keyOf(1)), () => meddled.get(1), () => [...table.range()]])
      expect(failureOf(read).code).toBe('shutting_down')
  })

  it('takes keys that are views and views only', async () => {
    const { table } = await filled(5)
    const within = Buffer.concat([Buffer.from('xx'), keyOf(3), Buffer.from('yy')]).subarray(2, 10)
    expect(same(table.get(within), Buffer.alloc(100, 3))).toBe(true)
    for (const key of ['00000003', 3, undefined, null, new Uint16Array(4)])
      expect(() => table.get(key as unknown as Uint8Array)).toThrow(TypeError)
  })

  it('ends a range that is left, or that cannot be decoded, and nothing of it stays open', async () => {
    const { store, table } = await filled(1000)
    for (const [found] of table.range()) if (same(found, keyOf(70))) break
    const [first] = table.range({ reverse: true })
    expect(same(first?.[0], keyOf(999))).toBe(true)
    const failing: Encoding<string> = {
      encode: () => Buffer.alloc(0),
      decode: (stored) => {
        if (same(stored, keyOf(100))) throw new RangeError('not this one')
        return 'fine'
      },
    }
    const undecodable = store.table('t', { keys: failing, values: bytes })
    const iterator = undecodable.range()[Symbol.iterator]()
    let passed = 0
    const walk = () => {
      for (const _pair of { [Symbol.iterator]: () => iterator }) passed += 1
    }
    expect(walk).toThrow(new RangeError('not this one'))
    expect(passed).toBe(100)
    expect(iterator.next()).toEqual({ done: true, value: undefined })
    await expect(store.compact()).resolves.toBeTypeOf('boolean')
    expect([...table.range({ gte: keyOf(1000) })]).toEqual([])
  })
})

function same(found: Uint8Array | undefined, expected: Uint8Array): boolean {
  return found !== undefined && Buffer.compare(found, expected) === 0
}
