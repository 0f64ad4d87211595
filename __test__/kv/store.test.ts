import { statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Dek, KvStore, randomBytes, type KvBound, type KvOperation, type KvRange } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'
import { failureOf, rejectionOf } from '../support/failure.js'
import { bytes, FORMS, open, same, sealing, text } from './forms.js'

const put = (key: string | number, value: string | number, table = 't'): KvOperation => ({
  table,
  key: bytes(key),
  value: bytes(value),
})

const EVERYTHING: KvRange = { limit: 1e9, mostBytes: 1e9 }
const ALPHABET = Array.from('abcdefghij')

describe.each(FORMS)('a store over a $name file', (form) => {
  const file = () => path.join(temporaryDirectory(), 'a.redb')
  const created = () => open(file(), 'create', form)

  it('gives back what was written, before and after it is opened again', async () => {
    const name = file()
    const store = open(name, 'create', form)
    const large = randomBytes(65_536)
    const huge = new Uint8Array(5_000_000).fill(7)
    await store.write([
      put('key', 'value'),
      { table: 't', key: new Uint8Array(), value: new Uint8Array() },
      { table: 'ünï ☃', key: large, value: huge },
      { table: 'ünï ☃', key: bytes('large'), value: large },
    ])
    const look = (store: KvStore) => {
      expect(text(store.get('t', bytes('key')))).toBe('value')
      expect(store.get('t', new Uint8Array())).toEqual(new Uint8Array())
      expect(store.get('t', bytes('nothing'))).toBeUndefined()
      expect(store.get('never made', bytes('key'))).toBeUndefined()
      expect(same(store.get('ünï ☃', large), huge)).toBe(true)
      expect(same(store.get('ünï ☃', bytes('large')), large)).toBe(true)
      const keys = [bytes('nothing'), bytes('key'), new Uint8Array(), bytes('key')]
      expect(store.getMany('t', keys).map(text)).toEqual([undefined, 'value', '', 'value'])
      expect(store.getMany('t', [])).toEqual([])
      expect(store.getMany('never made', keys)).toEqual([undefined, undefined, undefined, undefined])
      const snapshot = store.snapshot()
      expect(snapshot.tables()).toEqual(['t', 'ünï ☃'])
      snapshot.close()
    }
    look(store)
    await store.close()
    expect(statSync(name).mode & 0o777).toBe(0o600)
    const again = open(name, 'open', form)
    look(again)
    await again.close()
  })

  it('hands out copies: what is done to one changes neither the store nor another', async () => {
    const store = created()
    const [key, value] = [bytes('key'), bytes('value')]
    const written = store.write([{ table: 't', key, value }])
    key.fill(0)
    value.fill(0)
    await written
    const found = store.get('t', bytes('key'))
    expect(text(found)).toBe('value')
    store.get('t', bytes('something else'))
    found?.fill(0)
    expect(text(store.get('t', bytes('key')))).toBe('value')
    await store.close()
  })

  it('has ranges in both directions, with bounds that include or exclude, on either thread', async () => {
    const store = created()
    await store.write(ALPHABET.map((letter) => put(letter, letter.repeat(10))))
    const snapshot = store.snapshot()
    const bounds: (KvBound | undefined)[] = [
      undefined,
      ...['a', 'c', 'cc', 'j', 'zz', ''].flatMap((key) =>
        [true, false].map((inclusive) => ({ key: bytes(key), inclusive })),
      ),
    ]
    const within = (letter: string, from: KvBound | undefined, to: KvBound | undefined) => {
      const low = from === undefined ? 1 : Buffer.compare(bytes(letter), from.key)
      const high = to === undefined ? -1 : Buffer.compare(bytes(letter), to.key)
      return (
        (low > 0 || (low === 0 && from?.inclusive === true)) && (high < 0 || (high === 0 && to?.inclusive === true))
      )
    }
    for (const from of bounds) {
      for (const to of bounds) {
        for (const reverse of [false, true]) {
          for (const limit of [1, 3, 100]) {
            const letters = ALPHABET.filter((letter) => within(letter, from, to))
            if (reverse) letters.reverse()
            const expected = { letters: letters.slice(0, limit), hasMore: letters.length > limit }
            const range = { from, to, reverse, limit, mostBytes: 1e6 }
            const answers = [snapshot.range('t', range)]
            if (limit === 3) answers.push(await snapshot.rangeAsync('t', range))
            for (const { pairs, hasMore } of answers) {
              expect({ letters: pairs.map(([key]) => text(key)), hasMore }, JSON.stringify(range)).toEqual(expected)
              for (const [key, value] of pairs) expect(text(value)).toBe(text(key)?.repeat(10))
            }
          }
        }
      }
    }
    snapshot.close()
    await store.close()
  })

  it('ends a range with the pair that reaches its size, and goes on where it ended', async () => {
    const store = created()
    await store.write(ALPHABET.map((letter) => put(letter, letter.repeat(9))))
    const snapshot = store.snapshot()
    const letters = (range: KvRange) => snapshot.range('t', range).pairs.map(([key]) => text(key))
    expect(letters({ limit: 100, mostBytes: 1 })).toEqual(['a'])
    expect(letters({ limit: 100, mostBytes: 20 })).toEqual(['a', 'b'])
    expect(letters({ limit: 100, mostBytes: 21 })).toEqual(['a', 'b', 'c'])
    expect(letters({ limit: 100, mostBytes: 21, reverse: true })).toEqual(['j', 'i', 'h'])
    const all: (string | undefined)[] = []
    for (let after: KvBound | undefined; ;) {
      const { pairs, hasMore } = snapshot.range('t', { from: after, limit: 3, mostBytes: 1e6 })
      all.push(...pairs.map(([key]) => text(key)))
      if (!hasMore) break
      after = { key: pairs.at(-1)?.[0] ?? bytes(''), inclusive: false }
    }
    expect(all).toEqual(ALPHABET)
    expect(snapshot.range('never made', EVERYTHING)).toEqual({ pairs: [], hasMore: false })
    expect(await snapshot.rangeAsync('never made', EVERYTHING)).toEqual({ pairs: [], hasMore: false })
    snapshot.close()
    await store.close()
  })

  it('keeps a snapshot as it was, whatever is written or dropped', async () => {
    const store = created()
    await store.write([put('key', 'old'), put('key', 'other', 'doomed')])
    const snapshots = [store.snapshot()]
    for (let round = 0; round < 20; round++) {
      await store.write([put('key', `new ${String(round)}`), put(`more ${String(round)}`, 'x'.repeat(20_000))], {
        dropTables: ['doomed'],
      })
      snapshots.push(store.snapshot())
    }
    const [before] = snapshots
    expect(before?.tables()).toEqual(['doomed', 't'])
    expect(text(before?.get('t', bytes('key')))).toBe('old')
    expect(before?.getMany('doomed', [bytes('key')]).map(text)).toEqual(['other'])
    expect(before?.range('t', EVERYTHING).pairs).toHaveLength(1)
    expect(snapshots.slice(1).map((snapshot) => text(snapshot.get('t', bytes('key'))))).toEqual(
      Array.from({ length: 20 }, (_, round) => `new ${String(round)}`),
    )
    expect(text(store.get('t', bytes('key')))).toBe('new 19')
    expect(store.get('doomed', bytes('key'))).toBeUndefined()
    for (const snapshot of snapshots) snapshot.close()
    await store.close()
  })

  it('commits what waits together, in the order of the calls', async () => {
    const store = created()
    await store.write([put('n', -1)])
    const before = store.stats
    const order: number[] = []
    const writes = Array.from({ length: 300 }, (_, n) =>
      store
        .write([put('n', n), { table: 't', key: bytes(`k${String(n - 1)}`), value: null }, put(`k${String(n)}`, n)])
        .then(() => {
          order.push(n)
          // Whoever is told of a commit reads it.
          expect(Number(text(store.get('t', bytes('n'))))).toBeGreaterThanOrEqual(n)
        }),
    )
    expect(store.stats.queued).toBeGreaterThan(0)
    await Promise.all(writes)
    expect(order).toEqual([...order.keys()])
    const { commits, requests, queued, queuedBytes } = store.stats
    expect(requests - before.requests).toBe(300)
    expect(commits - before.commits).toBeLessThan(100)
    expect({ queued, queuedBytes }).toEqual({ queued: 0, queuedBytes: 0 })
    const snapshot = store.snapshot()
    expect(snapshot.range('t', EVERYTHING).pairs.map((pair) => pair.map(text))).toEqual([
      ['k299', '299'],
      ['n', '299'],
    ])
    snapshot.close()
    await store.close()
  })

  it('drops tables before the operations of the same write, which may make them anew', async () => {
    const store = created()
    await store.write([put('old', 1), put('old', 1, 'other')])
    await Promise.all([
      store.write([put('between', 2)]),
      store.write([put('new', 3)], { dropTables: ['t', 'other', 'never made'] }),
      store.write([put('after', 4)]),
    ])
    const snapshot = store.snapshot()
    expect(snapshot.tables()).toEqual(['t'])
    expect(snapshot.range('t', EVERYTHING).pairs.map(([key]) => text(key))).toEqual(['after', 'new'])
    snapshot.close()
    await store.close()
  })

  it('shows eventual writes at once, and keeps them when it closes', async () => {
    const name = file()
    const store = open(name, 'create', form)
    for (let n = 0; n < 50; n++) await store.write([put(n, n)], { durability: 'eventual' })
    expect(text(store.get('t', bytes(49)))).toBe('49')
    await store.flush()
    await store.write([put('last', 1)], { durability: 'eventual' })
    await store.close()
    const again = open(name, 'open', form)
    expect(text(again.get('t', bytes('last')))).toBe('1')
    await again.close()
  })

  it('finishes what waits before it closes, refuses what comes later, and closes its snapshots', async () => {
    const name = file()
    const store = open(name, 'create', form)
    await store.write([put('key', 'value')])
    const snapshot = store.snapshot()
    const waiting = Array.from({ length: 50 }, (_, n) => store.write([put(n, n)]))
    const closed = store.close()
    const late = [store.write([put('late', 1)]), store.flush(), store.check(), store.compact()]
    for (const request of late) expect((await rejectionOf(request)).code).toBe('shutting_down')
    await Promise.all([...waiting, closed])
    await store.close()
    const reads = [
      () => store.get('t', bytes('key')),
      () => store.getMany('t', [bytes('key')]),
      () => store.snapshot(),
      () => snapshot.get('t', bytes('key')),
      () => snapshot.getMany('t', []),
      () => snapshot.range('t', EVERYTHING),
      () => snapshot.tables(),
    ]
    for (const read of reads) expect(failureOf(read)).toMatchObject({ code: 'shutting_down', path: name })
    expect((await rejectionOf(snapshot.rangeAsync('t', EVERYTHING))).code).toBe('shutting_down')
    expect(store.stats).toMatchObject({ requests: 51, queued: 0, fileBytes: expect.any(Number) })
    snapshot.close()
    expect(() => snapshot.tables()).toThrow(TypeError)
    const again = open(name, 'open', form)
    expect(again.getMany('t', [bytes(0), bytes(49), bytes('late')]).map(text)).toEqual(['0', '49', undefined])
    await again.close()
  })

  it('checks and compacts itself once nobody holds a snapshot', async () => {
    const store = created()
    for (let n = 0; n < 20; n++) await store.write([put(n, 'x'.repeat(300_000))])
    await store.write([put('left', 'over')], { dropTables: ['t'] })
    expect(text(store.get('t', bytes('left')))).toBe('over')
    const snapshot = store.snapshot()
    expect((await rejectionOf(store.check())).code).toBe('file_busy')
    expect((await rejectionOf(store.compact())).code).toBe('file_busy')
    snapshot.close()
    expect(await store.check()).toEqual({ sound: true, damagedFreePages: [] })
    const before = store.stats.fileBytes
    expect(await store.compact()).toBe(true)
    expect(store.stats.fileBytes).toBeLessThan(before)
    expect(text(store.get('t', bytes('left')))).toBe('over')
    await store.close()
  })

  it('is not opened twice, and names the process that has it', async () => {
    const name = file()
    const store = open(name, 'create', form)
    expect(failureOf(() => open(name, 'open', form))).toMatchObject({
      code: 'file_busy',
      path: name,
      detail: { owner_pid: process.pid },
    })
    await store.close()
    await open(name, 'open', form).close()
  })

  it('never takes a missing, empty, truncated or foreign file for a database, nor an existing one for a new one', async () => {
    const name = file()
    expect(failureOf(() => open(name, 'open', form))).toMatchObject({ code: 'data_missing', path: name })
    const store = open(name, 'create', form)
    await store.write(Array.from({ length: 50 }, (_, n) => put(n, 'x'.repeat(1000))))
    await store.close()
    expect(failureOf(() => open(name, 'create', form))).toMatchObject({ code: 'target_exists', path: name })
    for (const length of [statSync(name).size / 2, 4096, 100, 0]) {
      truncateSync(name, length)
      const failure = failureOf(() => open(name, 'open', form))
      expect(failure, String(length)).toMatchObject({ code: 'file_corrupt', path: name, detail: { reason: 'damaged' } })
      expect(statSync(name).size).toBe(length)
    }
    writeFileSync(name, 'this is not a database, whatever its name says')
    expect(failureOf(() => open(name, 'open', form)).code).toBe('file_corrupt')
    const nowhere = path.join(path.dirname(name), 'nowhere', 'a.redb')
    expect(['io_error', 'data_missing']).toContain(failureOf(() => open(nowhere, 'create', form)).code)
  })
})

describe('a sealed file', () => {
  it('is refused with the reason under another key, another id, without a key, and a plain one with a key', async () => {
    const directory = temporaryDirectory()
    const [sealed, plain] = [path.join(directory, 'sealed.redb'), path.join(directory, 'plain.redb')]
    const encryption = sealing()
    await KvStore.open({ path: sealed, mode: 'create', encryption }).close()
    await KvStore.open({ path: plain, mode: 'create' }).close()
    const opened = (path: string, encryption?: ReturnType<typeof sealing>) =>
      failureOf(() => KvStore.open({ path, mode: 'open', encryption }))
    const otherFile = opened(sealed, { ...encryption, fileId: randomBytes(16) })
    expect(opened(sealed, { ...encryption, dek: Dek.generate() })).toMatchObject({ code: 'key_wrong', path: sealed })
    expect(otherFile).toMatchObject({ code: 'file_corrupt', detail: { reason: 'other_file' } })
    expect(opened(sealed)).toMatchObject({ code: 'file_corrupt', detail: { reason: 'encrypted' } })
    expect(opened(plain, encryption)).toMatchObject({ code: 'file_corrupt', detail: { reason: 'not_encrypted' } })
    await KvStore.open({ path: sealed, mode: 'open', encryption }).close()
  })

  it('tells its id, the generation of its key, its epoch and its size', async () => {
    const name = path.join(temporaryDirectory(), 'a.redb')
    const encryption = { ...sealing(), generation: 2n ** 63n + 1n }
    const store = KvStore.open({ path: name, mode: 'create', encryption })
    const before = store.stats
    await store.write([put('key', 'x'.repeat(100_000))])
    const { sealed, pages, fileBytes } = store.stats
    expect(sealed).toMatchObject({ fileId: encryption.fileId, generation: encryption.generation, rolledBack: false })
    expect(sealed?.epoch).toBeGreaterThan(before.sealed?.epoch ?? Infinity)
    expect(sealed?.sealedPages).toBeGreaterThan(25)
    expect(pages).toBeGreaterThan(25)
    expect(fileBytes).toBe(statSync(name).size)
    await store.close()
    expect(store.stats.sealed?.fileId).toEqual(encryption.fileId)
  })

  it('outlives the handle of its key', async () => {
    const name = path.join(temporaryDirectory(), 'a.redb')
    const encryption = sealing()
    const store = KvStore.open({ path: name, mode: 'create', encryption })
    encryption.dek.close()
    await store.write([put('key', 'value')])
    expect(text(store.get('t', bytes('key')))).toBe('value')
    await store.close()
    expect(() => KvStore.open({ path: name, mode: 'open', encryption })).toThrow(TypeError)
  })
})
