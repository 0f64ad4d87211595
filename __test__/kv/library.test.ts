import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createProtected } from '../../src/encryption/protect.js'
import { Store, bytes, json, msgpack, utf8, type RangeOptions, type StoreOptions } from '../../src/index.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { KvStore, randomBytes } from '../../src/native.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'

interface User {
  readonly name: string
  readonly logins?: number
}

const USERS = { keys: utf8, values: json<User>() }
const BYTES = { keys: bytes, values: bytes }

const forms: { name: string; secrets: () => Promise<Omit<StoreOptions, 'path'>> }[] = [
  { name: 'plain', secrets: async () => ({}) },
  { name: 'keyed', secrets: async () => ({ key: new Uint8Array(32).fill(7) }) },
  { name: 'provided', secrets: async () => ({ keyProvider: await provider() }) },
]

/** One master key for a test. */
async function provider(seed = 9) {
  const file = writeIn(temporaryDirectory(), 'master.key', new Uint8Array(32).fill(seed), 0o400)
  const keys = await openMasterKeyFile(file, [])
  onTestFinished(() => keys.close())
  return keys
}

const file = () => path.join(temporaryDirectory(), 'app.redb')

async function open(options: StoreOptions): Promise<Store> {
  const store = await Store.open(options)
  onTestFinished(() => store.close())
  return store
}

describe.each(forms)('a $name store', ({ secrets }) => {
  it('gives back what each encoding was given, before and after it is opened again', async () => {
    const options = { path: file(), ...(await secrets()) }
    const store = await open(options)
    const packed = { keys: bytes, values: msgpack<{ at: Date; raw: Uint8Array }>() }
    const at = new Date(1_700_000_000_000)
    await Promise.all([
      store.table('users', USERS).put('ada', { name: 'Ada' }),
      store.table('texts', { keys: utf8, values: utf8 }).put('', 'ünï ☃'),
      store.table('bytes', BYTES).put(new Uint8Array([1]), new Uint8Array()),
      store.table('packed', packed).put(new Uint8Array([0xff]), { at, raw: new Uint8Array([1, 2]) }),
    ])
    const look = (opened: Store) => {
      expect(opened.table('users', USERS).get('ada')).toEqual({ name: 'Ada' })
      expect(opened.table('users', USERS).get('bob')).toBeUndefined()
      expect(opened.table('texts', { keys: utf8, values: utf8 }).get('')).toBe('ünï ☃')
      expect(opened.table('bytes', BYTES).getMany([new Uint8Array([1]), new Uint8Array()])).toEqual([
        new Uint8Array(),
        undefined,
      ])
      expect(opened.table('packed', packed).get(new Uint8Array([0xff]))).toEqual({ at, raw: new Uint8Array([1, 2]) })
    }
    look(store)
    await store.close()
    look(await open({ ...options, mode: 'open' }))
  })

  it('takes copies: what is done to a buffer afterwards changes nothing', async () => {
    const table = (await open({ path: file(), ...(await secrets()) })).table('t', BYTES)
    const [key, value] = [Buffer.from('key'), Buffer.from('value')]
    const put = table.put(key, value)
    key.fill(0)
    value.fill(0)
    await put
    const found = table.get(Buffer.from('key'))
    expect(found).toEqual(new Uint8Array(Buffer.from('value')))
    found?.fill(0)
    expect(table.get(Buffer.from('key'))).toEqual(new Uint8Array(Buffer.from('value')))
    expect(found).toEqual(new Uint8Array(5))
  })

  it('lends nothing to an encoding: what it keeps of one read is the same after the next', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const kept = { encode: (value: Uint8Array) => value, decode: (stored: Uint8Array) => stored }
    for (const values of [kept, { ...kept, take: kept.decode }]) {
      const table = store.table('t', { keys: utf8, values })
      await Promise.all([table.put('a', Buffer.from('first')), table.put('b', Buffer.from('other'))])
      const [first, other] = [table.get('a'), table.get('b')]
      const ranged = Array.from(table.range(), ([, value]) => value)
      const words = [first, other, ...ranged].map((value) => value && Buffer.from(value).toString())
      expect(words).toEqual(['first', 'other', 'first', 'other'])
    }
  })

  it('answers every range as the plainest filter and sort do, on this thread and on others', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: json<number>() })
    const words = Array.from(
      { length: 300 },
      (_, number) => randomInt(0, 4096).toString(8).padStart(randomInt(1, 6), '7') + (number % 3 ? '' : '\u{10ffff}'),
    )
    const batch = store.batch()
    for (const [index, word] of words.entries()) batch.put(table, word, index)
    await batch.write()
    const model = [...new Map(words.map((word, index) => [word, index]))].sort(([a], [b]) =>
      Buffer.compare(Buffer.from(a), Buffer.from(b)),
    )
    for (let round = 0; round < 200; round++) {
      const [low, high] = [words[randomInt(0, 300)] ?? '', words[randomInt(0, 300)] ?? '']
      const options: RangeOptions<string> | undefined = [
        {},
        { gte: low, lt: high },
        { gt: low, lte: high },
        { prefix: Array.from(low).slice(0, randomInt(0, 4)).join('') },
        { lt: high, gt: low },
      ][round % 5]
      const range = { ...options, reverse: round % 2 === 0, ...(round % 3 === 0 ? { limit: randomInt(0, 20) } : {}) }
      const expected = model.filter(([key]) => isWithin(key, range))
      if (range.reverse) expected.reverse()
      const wanted = expected.slice(0, range.limit ?? Infinity)
      expect([...table.range(range)], JSON.stringify(range)).toEqual(wanted)
      const later: [string, number][] = []
      for await (const entry of table.range(range)) later.push(entry)
      expect(later).toEqual(wanted)
      expect(await store.transaction((transaction) => [...transaction.range(table, range)])).toEqual(wanted)
    }
  })

  it('keeps a snapshot and a range that has begun as they were', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: utf8 })
    await table.put('a', '1')
    await table.put('b', '1')
    const snapshot = store.snapshot()
    const range = table.range()[Symbol.iterator]()
    expect(range.next().value).toEqual(['a', '1'])
    await Promise.all([table.put('a', '2'), table.del('b'), table.put('c', '2')])
    expect(range.next().value).toEqual(['b', '1'])
    expect(range.next().done).toBe(true)
    expect([...snapshot.range(table)]).toEqual([
      ['a', '1'],
      ['b', '1'],
    ])
    expect(snapshot.getMany(table, ['a', 'c'])).toEqual(['1', undefined])
    snapshot.close()
    expect([...table.range()]).toEqual([
      ['a', '2'],
      ['c', '2'],
    ])
  })

  it('runs transactions one after the other, together with writes, however many are asked for at once', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: json<number>() })
    const before = store.stats.commits
    const seen = await Promise.all(
      Array.from({ length: 200 }, (_, index) => {
        if (index === 100) return table.put('n', 1000).then(() => -1)
        return store.transaction((transaction) => {
          const n = transaction.get(table, 'n') ?? 0
          transaction.put(table, 'n', n + 1)
          return n
        })
      }),
    )
    expect(seen).toEqual([
      ...Array.from({ length: 100 }, (_, n) => n),
      -1,
      ...Array.from({ length: 99 }, (_, n) => 1000 + n),
    ])
    expect(table.get('n')).toBe(1099)
    expect(store.stats.commits - before).toBe(1)
  })

  it('undoes a transaction that throws, and only that one', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: utf8 })
    const outcomes = await Promise.allSettled([
      store.transaction((transaction) => transaction.put(table, 'a', '1').put(table, 'b', '1')),
      store.transaction((transaction) => {
        transaction.put(table, 'a', '2').del(table, 'b').put(table, 'c', '2')
        expect([...transaction.range(table)]).toEqual([
          ['a', '2'],
          ['c', '2'],
        ])
        throw new RangeError('on purpose')
      }),
      store.transaction((transaction) => [...transaction.range(table, { reverse: true })]),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(outcomes[1]).toMatchObject({ reason: new RangeError('on purpose') })
    expect(outcomes[2]).toMatchObject({
      value: [
        ['b', '1'],
        ['a', '1'],
      ],
    })
    expect([...table.range()]).toEqual([
      ['a', '1'],
      ['b', '1'],
    ])
  })

  it('refuses a transaction that is async, or used when it is over', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: utf8 })
    await expect(
      store.transaction(async (transaction) => {
        transaction.put(table, 'a', '1')
      }),
    ).rejects.toThrow(TypeError)
    expect(table.get('a')).toBeUndefined()
    const kept = await store.transaction((transaction) => transaction)
    expect(() => kept.get(table, 'a')).toThrow(TypeError)
    expect(() => kept.put(table, 'a', '1')).toThrow(TypeError)
  })

  it('clears a table or a range of it, and refuses what comes after close', async () => {
    const store = await open({ path: file(), ...(await secrets()) })
    const table = store.table('t', { keys: utf8, values: utf8 })
    await Promise.all(['a', 'b1', 'b2', 'c'].map((key) => table.put(key, key)))
    await table.clear({ prefix: 'b' })
    expect([...table.range()].map(([key]) => key)).toEqual(['a', 'c'])
    await table.clear()
    expect([...table.range()]).toEqual([])
    const last = table.put('z', 'z')
    await store.close()
    await last
    await expect(table.put('a', 'a')).rejects.toMatchObject({ code: 'shutting_down' })
    expect(() => table.get('a')).toThrow(expect.objectContaining({ code: 'shutting_down' }))
    await store.close()
  })

  it('opens, makes or refuses as the mode says, and is one process’s alone', async () => {
    const options = { path: file(), ...(await secrets()) }
    expect(await rejectionOf(Store.open({ ...options, mode: 'open' }))).toMatchObject({
      code: 'data_missing',
      path: options.path,
    })
    const store = await open({ ...options, mode: 'create' })
    expect(await rejectionOf(Store.open(options))).toMatchObject({
      code: 'file_busy',
      detail: { owner_pid: process.pid },
    })
    await store.close()
    expect(await rejectionOf(Store.open({ ...options, mode: 'create' }))).toMatchObject({ code: 'target_exists' })
    await (await Store.open({ ...options, mode: 'open' })).close()
  })
})

describe('the key of a store', () => {
  it('is the one that it was made with, or the opening is refused and the file stays as it was', async () => {
    const where = file()
    const store = await open({ path: where, key: new Uint8Array(32).fill(1) })
    await store.table('t', { keys: utf8, values: utf8 }).put('key', 'a value to look for')
    await store.close()
    const before = readFileSync(where)
    expect(before.includes('a value to look for')).toBe(false)
    expect(await rejectionOf(Store.open({ path: where, key: randomBytes(32) }))).toMatchObject({
      code: 'key_wrong',
      path: where,
    })
    expect(await rejectionOf(Store.open({ path: where }))).toMatchObject({
      code: 'encrypted_but_disabled',
      path: where,
    })
    expect(await rejectionOf(Store.open({ path: where, keyProvider: await provider() }))).toMatchObject({
      code: 'manifest_missing',
    })
    expect(readFileSync(where).equals(before)).toBe(true)
  })

  it('does not open a plain file, nor one that a provider wrapped a key for', async () => {
    const plain = file()
    await (await Store.open({ path: plain })).close()
    const before = readFileSync(plain)
    expect(await rejectionOf(Store.open({ path: plain, key: randomBytes(32) }))).toMatchObject({
      code: 'config_invalid',
    })
    expect(await rejectionOf(Store.open({ path: plain, keyProvider: await provider() }))).toMatchObject({
      code: 'manifest_missing',
    })
    expect(readFileSync(plain).equals(before)).toBe(true)
    const wrapped = file()
    await (await Store.open({ path: wrapped, keyProvider: await provider() })).close()
    expect(await rejectionOf(Store.open({ path: wrapped, key: randomBytes(32) }))).toMatchObject({
      code: 'config_invalid',
    })
    expect(await rejectionOf(Store.open({ path: wrapped }))).toMatchObject({ code: 'encrypted_but_disabled' })
    expect(await rejectionOf(Store.open({ path: wrapped, keyProvider: await provider(8) }))).toMatchObject({
      code: 'key_wrong',
    })
  })

  it.each([
    ['short', new Uint8Array(31)],
    ['long', new Uint8Array(33).fill(1)],
    ['all zero', new Uint8Array(32)],
  ])('is refused if it is %s, before anything is made', async (_, key) => {
    const where = file()
    await expect(Store.open({ path: where, key })).rejects.toThrow(TypeError)
    expect(() => readFileSync(where)).toThrow()
  })

  it('of a provider may belong to a creation that was interrupted: the next opening settles it', async () => {
    const keyProvider = await provider()
    for (const hasData of [false, true]) {
      const where = file()
      const interrupted = await createProtected(
        where,
        { family: 'redb_tenant', tenant: 'app' },
        keyProvider,
        'sealed-redb-1',
      )
      if (hasData) {
        const { dek, fileId } = interrupted
        await KvStore.open({ path: where, mode: 'create', encryption: { dek, fileId, generation: 1n } }).close()
      } else writeFileSync(`${where}.creating`, 'half a file')
      interrupted.dek.close()
      const store = await open({ path: where, keyProvider })
      await store.table('t', USERS).put('a', { name: 'A' })
      await store.close()
      expect((await open({ path: where, keyProvider })).table('t', USERS).get('a')).toEqual({ name: 'A' })
    }
  })
})

describe('the settings of a key provider', () => {
  it('do as well as the provider, which is closed again; anything else is a mistake', async () => {
    const directory = temporaryDirectory()
    const masterKeyFile = writeIn(temporaryDirectory(), 'master.key', new Uint8Array(32).fill(9), 0o400)
    const keyProvider = { provider: 'master-key-file', masterKeyFile } as const
    const options = { path: path.join(directory, 'app.redb') }
    const store = await Store.open({ ...options, keyProvider })
    await store.table('t', BYTES).put(new Uint8Array([1]), new Uint8Array([2]))
    await store.close()
    const again = await open({ ...options, keyProvider: await provider() })
    expect(again.table('t', BYTES).get(new Uint8Array([1]))).toEqual(new Uint8Array([2]))
    await again.close()
    for (const wrong of ['x', {}, { provider: 'master-key-file' }]) {
      await expect(Store.open({ ...options, keyProvider: wrong as never })).rejects.toThrow(TypeError)
    }
    // The key may not lie beside the file.
    const beside = writeIn(directory, 'master.key', new Uint8Array(32).fill(9), 0o400)
    const refused = await rejectionOf(
      Store.open({ ...options, keyProvider: { ...keyProvider, masterKeyFile: beside } }),
    )
    expect(refused).toMatchObject({ code: 'config_invalid' })
  })
})

describe('a batch', () => {
  it('that could not be written can be written again', async () => {
    const store = await open({ path: file() })
    const table = store.table('t', { keys: utf8, values: utf8 })
    const batch = store.batch().put(table, 'a', '1')
    await store.transaction(() => expect(() => batch.writeSync()).toThrow(TypeError))
    expect(batch.length).toBe(1)
    await batch.write()
    expect([batch.length, table.get('a')]).toEqual([0, '1'])
  })
})

describe('an encoding', () => {
  it('refuses a value that it has no form for, and the store stays as it was', async () => {
    const store = await open({ path: file() })
    const texts = store.table('t', { keys: utf8, values: utf8 })
    const values = store.table('v', { keys: utf8, values: json() })
    for (const refused of [
      texts.put('a\ud800', 'x'),
      texts.put('a', '\udc00'),
      values.put('a', undefined),
      values.put('a', () => 1),
    ])
      await expect(refused).rejects.toThrow(TypeError)
    await expect(texts.put('a', Buffer.from('x') as unknown as string)).rejects.toThrow(TypeError)
    await expect(store.table('b', BYTES).put('a' as unknown as Uint8Array, new Uint8Array())).rejects.toThrow(TypeError)
    expect(store.stats.commits).toBe(0)
    expect(() => store.table('', BYTES)).toThrow(TypeError)
    expect(() => [...texts.range({ gt: 'a', gte: 'b' })]).toThrow(TypeError)
    expect(() => [...texts.range({ prefix: 'a', lt: 'b' })]).toThrow(TypeError)
    expect(() => [...texts.range({ limit: -1 })]).toThrow(RangeError)
  })
})

function isWithin(key: string, range: RangeOptions<string>): boolean {
  const order = (other: string) => Buffer.compare(Buffer.from(key), Buffer.from(other))
  const { gt, gte, lt, lte, prefix } = range
  return (
    (gt === undefined || order(gt) > 0) &&
    (gte === undefined || order(gte) >= 0) &&
    (lt === undefined || order(lt) < 0) &&
    (lte === undefined || order(lte) <= 0) &&
    (prefix === undefined || key.startsWith(prefix))
  )
}
