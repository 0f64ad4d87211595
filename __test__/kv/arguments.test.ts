/** Whatever is passed in, the process lives and the store goes on. */
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { KvStore } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'
import { bytes, sealing, text } from './forms.js'

const detached = new Uint8Array(8)
structuredClone(detached.buffer, { transfer: [detached.buffer] })

/** One of each kind of value, but for what belongs in the place. */
const FOREIGN: Record<string, unknown> = {
  undefined,
  null: null,
  true: true,
  1: 1,
  NaN: NaN,
  '-1': -1,
  '2 ** 53': 2 ** 53,
  '1n': 1n,
  text: 'text',
  'empty text': '',
  symbol: Symbol('x'),
  function: () => 1,
  '{}': {},
  '[]': [],
  '[1]': [1],
  '[{}]': [{}],
  Date: new Date(),
  ArrayBuffer: new ArrayBuffer(8),
  DataView: new DataView(new ArrayBuffer(8)),
  Float64Array: new Float64Array(1),
  Uint32Array: new Uint32Array(4),
  Uint8ClampedArray: new Uint8ClampedArray(4),
  BigInt64Array: new BigInt64Array(1),
  detached,
  Proxy: new Proxy({}, {}),
}

type Call = (value: unknown) => unknown

async function thrownBy(call: Call, value: unknown): Promise<unknown> {
  try {
    await call(value)
    return undefined
  } catch (thrown) {
    return thrown
  }
}

describe('an argument of the wrong type', () => {
  it('is a TypeError or a RangeError, wherever it stands, or has no effect', async () => {
    const name = path.join(temporaryDirectory(), 'a.redb')
    const encryption = sealing()
    const store = KvStore.open({ path: name, mode: 'create', encryption })
    await store.write([{ table: 't', key: bytes('key'), value: bytes('value') }])
    const snapshot = store.snapshot()
    const key = bytes('key')
    const range = { limit: 1, mostBytes: 1 }
    /* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-argument -- callers in JavaScript pass anything */
    const calls: Record<string, Call> = {
      'open path': (value: any) => KvStore.open({ path: value, mode: 'open' }).close(),
      'open dek': (value: any) => KvStore.open({ path: name, mode: 'open', encryption: { ...encryption, dek: value } }),
      'open id': (value: any) =>
        KvStore.open({ path: name, mode: 'open', encryption: { ...encryption, fileId: value } }),
      'open generation': (value: any) =>
        KvStore.open({ path: name, mode: 'open', encryption: { ...encryption, generation: value } }),
      'get table': (value: any) => store.get(value, key),
      'get key': (value: any) => store.get('t', value),
      'getMany table': (value: any) => store.getMany(value, [key]),
      'getMany keys': (value: any) => store.getMany('t', value),
      'getMany key': (value: any) => store.getMany('t', [key, value]),
      'snapshot get table': (value: any) => snapshot.get(value, key),
      'snapshot get key': (value: any) => snapshot.get('t', value),
      'range table': (value: any) => snapshot.range(value, range),
      range: (value: any) => snapshot.range('t', value),
      'range bound': (value: any) => snapshot.range('t', { ...range, from: value }),
      'range key': (value: any) => snapshot.range('t', { ...range, to: { key: value, inclusive: true } }),
      'range limit': (value: any) => snapshot.range('t', { ...range, limit: value }),
      'range mostBytes': (value: any) => snapshot.range('t', { ...range, mostBytes: value }),
      'range reverse': (value: any) => snapshot.range('t', { ...range, reverse: value }),
      'rangeAsync table': (value: any) => snapshot.rangeAsync(value, range),
      'rangeAsync key': (value: any) => snapshot.rangeAsync('t', { ...range, from: { key: value, inclusive: true } }),
      write: (value: any) => store.write(value),
      'write operation': (value: any) => store.write([value]),
      'write table': (value: any) => store.write([{ table: value, key, value: key }]),
      'write key': (value: any) => store.write([{ table: 't', key: value, value: key }]),
      'write value': (value: any) => store.write([{ table: 't', key: bytes('other'), value }]),
      'write dropTables': (value: any) => store.write([], { dropTables: value }),
      'write dropped table': (value: any) => store.write([], { dropTables: [value] }),
    }
    /* eslint-enable */
    for (const [where, call] of Object.entries(calls)) {
      for (const [what, value] of Object.entries(FOREIGN)) {
        const thrown = await thrownBy(call, value)
        const isFine = thrown === undefined || thrown instanceof TypeError || thrown instanceof RangeError
        const isAboutTheFile = where.startsWith('open') && thrown instanceof Error && 'code' in thrown
        expect(isFine || isAboutTheFile, `${where}: ${what}: ${String(thrown)}`).toBe(true)
      }
    }
    expect(text(store.get('t', key))).toBe('value')
    expect(store.stats.queued).toBe(0)
    snapshot.close()
    await store.close()
  })

  it('is named: what is no Uint8Array, what is no table, and what bounds nothing', async () => {
    const store = KvStore.open({ path: path.join(temporaryDirectory(), 'a.redb'), mode: 'create' })
    const [key, value] = [bytes('key'), bytes('value')]
    const snapshot = store.snapshot()
    expect(() => store.get('t', 'key' as never)).toThrow(new TypeError('a key or value must be a Uint8Array'))
    expect(() => store.getMany('t', [Buffer.from('x').buffer as never])).toThrow(TypeError)
    await expect(store.write([{ table: '', key, value }])).rejects.toThrow('a table has a name that is not empty')
    await expect(store.write([], { dropTables: [''] })).rejects.toThrow(TypeError)
    for (const limit of [0, -1, NaN]) {
      expect(() => snapshot.range('t', { limit, mostBytes: 1 })).toThrow(RangeError)
      expect(() => snapshot.range('t', { limit: 1, mostBytes: limit })).toThrow(RangeError)
    }
    // Buffers, views into larger memory and shared memory are byte strings like any other.
    const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(1)
    const whole = new Uint8Array([9, 1, 2, 9])
    await store.write([
      { table: 't', key: Buffer.from('buffer'), value: shared },
      { table: 't', key: shared, value: whole.subarray(1, 3) },
    ])
    expect(store.get('t', bytes('buffer'))).toEqual(new Uint8Array([1, 1, 1]))
    expect(store.getMany('t', [shared])).toEqual([new Uint8Array([1, 2])])
    snapshot.close()
    await store.close()
  })
})
