/** The contract of queries: typed comparisons, one total order, the same answers with every index and with none. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TenantStore } from '../../../src/tenants/contract.js'
import type { JsonObject, JsonValue } from '../../../src/tenants/json.js'
import type { Filter, Query } from '../../../src/tenants/query.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, fieldsOf, makeStore } from './home.js'
import { compareValues, fieldsArbitrary, filterArbitrary, indexesArbitrary, orderArbitrary, select } from './model.js'

export function describeQueries(makeHome: MakeHome): void {
  describe('queries', () => {
    it('of a table that was never made find nothing', async () => {
      const { store } = await makeStore(makeHome)
      expect(await store.query({ table: 'nothing' })).toEqual([])
    })

    it('see one moment: no document comes twice or not at all because it moves meanwhile', async () => {
      const { store } = await makeStore(makeHome)
      const inserted = await insertAll(
        store,
        'posts',
        Array.from({ length: 1000 }, (_, n) => ({ n })),
      )
      for (const order of [{ field: 'n' }, { field: 'n', direction: 'desc' }] as const) {
        const first = await store.queryPage({ table: 'posts', order }, { limit: 1 })
        const query = store.query({ table: 'posts', order, limit: 1000 })
        const page = store.queryPage({ table: 'posts', order }, { limit: 999, after: first.nextCursor ?? '' })
        const moves = inserted.slice(1, -1).map(({ id }, at) => store.patch('posts', id, { n: (at * 7919) % 998 }))
        expect(new Set((await query).map(({ id }) => id)).size).toBe(1000)
        const ids = (await page).documents.map(({ id }) => id)
        expect(new Set(ids).size).toBe(ids.length)
        await Promise.all(moves)
      }
    })

    it('keep to their field, whatever schemas come and go before their turn', async () => {
      const { provider, store } = await makeStore(makeHome)
      await provider.create('busy')
      const busy = await provider.open('busy')
      await insertAll(
        busy,
        'posts',
        Array.from({ length: 1000 }, (_, n) => ({ n, text: 'x'.repeat(500) })),
      )
      await insertAll(
        store,
        'posts',
        Array.from({ length: 20 }, (_, n) => ({ a: n, b: (n * 7) % 20 })),
      )
      await store.putSchema('posts', { indexes: [{ name: 'one', fields: ['a'] }] })
      const crowd = Array.from({ length: 200 }, (_, n) =>
        busy.query({ table: 'posts', filters: [{ field: `f${n}`, op: 'eq', value: 1 }] }),
      )
      const query = store.query({ table: 'posts', order: { field: 'a' } })
      await store.deleteSchema('posts')
      await store.putSchema('posts', { indexes: [{ name: 'one', fields: ['b'] }] })
      expect((await query).map((document) => fieldsOf(document)['a'])).toEqual([...Array(20).keys()])
      await Promise.all(crowd)
    })

    it('answer as the plainest filter and sort do, with every index and with none', async () => {
      const { store } = await makeStore(makeHome)
      let tables = 0
      const scenario = fc.record({
        documents: fc.array(fieldsArbitrary, { maxLength: 25 }),
        indexes: indexesArbitrary,
        queries: fc.array(
          fc.record({
            filters: fc.array(filterArbitrary, { maxLength: 3 }),
            order: orderArbitrary,
            limit: fc.integer({ min: 1, max: 30 }),
          }),
          { minLength: 1, maxLength: 12 },
        ),
      })
      await fc.assert(
        fc.asyncProperty(scenario, async ({ documents, indexes, queries }) => {
          const table = `model_${tables++}`
          await store.putSchema(table, { indexes })
          const model = await insertAll(store, table, documents)
          for (const { filters, order, limit } of queries) {
            const found = await store.query({ table, filters, order, limit })
            const expected = select(model, filters, order).slice(0, limit)
            expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id))
          }
        }),
        { numRuns: 80 },
      )
    })

    it('follow documents as they change', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('posts', { indexes: [{ name: 'by_state', fields: ['state', 'n'] }] })
      const open: Query = {
        table: 'posts',
        filters: [{ field: 'state', op: 'eq', value: 'open' }],
        order: { field: 'n', direction: 'desc' },
      }
      const [first, second] = await insertAll(store, 'posts', [
        { state: 'open', n: 1 },
        { state: 'open', n: 2 },
        { state: 'done', n: 3 },
      ])
      const numbers = async () => (await store.query(open)).map((document) => fieldsOf(document)['n'])
      expect(await numbers()).toEqual([2, 1])
      await store.patch('posts', first?.id ?? '', { n: 5 })
      expect(await numbers()).toEqual([5, 2])
      await store.patch('posts', second?.id ?? '', { state: null })
      expect(await numbers()).toEqual([5])
      await store.delete('posts', first?.id ?? '')
      expect(await numbers()).toEqual([])
    })

    /** One value of each kind, and pairs that loose comparisons take for equal. */
    const VALUES: JsonValue[] = [0, 1, '', '0', '1', 'true', 'null', false, true, null, [], {}, [1]]

    it.each<[string, Filter['value'], JsonValue[]]>([
      ['the number 1', 1, [1]],
      ['the string 1', '1', ['1']],
      ['true', true, [true]],
      ['false', false, [false]],
      ['null', null, [null]],
      ['the string null', 'null', ['null']],
      ['the empty string', '', ['']],
      ['zero', 0, [0]],
      ['minus zero', -0, [0]],
    ])('with eq %s match that value and type only, and with neq all others', async (_, value, matching) => {
      const { store } = await makeStore(makeHome)
      await insertAll(store, 'posts', [...VALUES.map((v) => ({ v })), {}])
      for (const indexes of [[], [{ name: 'by_v', fields: ['v'] }]]) {
        await store.putSchema('posts', { indexes })
        const found = async (op: 'eq' | 'neq') =>
          (await store.query({ table: 'posts', filters: [{ field: 'v', op, value }] })).map(fieldsOf)
        expect(await found('eq')).toEqual(matching.map((v) => ({ v })))
        const others = VALUES.filter((v) => compareValues(v, value) !== 0)
        expect(await found('neq')).toEqual([...others.map((v) => ({ v })), {}])
      }
    })

    it('order numbers, strings, false, true, arrays and objects, null, and documents without the field', async () => {
      const { store } = await makeStore(makeHome)
      const ordered = [
        -1e300,
        -1,
        0,
        0.5,
        1,
        2 ** 53,
        '',
        'A',
        'a',
        'ab',
        'ä',
        '\u{ffff}',
        '\u{1f600}',
        false,
        true,
        [2],
        {},
        [],
        null,
      ]
      const shuffled = [...ordered.keys()].sort((a, b) => ((a * 7) % 19) - ((b * 7) % 19))
      // Containers tie, so they keep the order of insertion.
      const containersLast = [...shuffled.filter((n) => n < 15 || n > 17), 15, 16, 17]
      await insertAll(store, 'posts', [{ n: 'none' }, ...containersLast.map((n) => ({ n, v: ordered[n] ?? null }))])
      for (const indexes of [[], [{ name: 'by_v', fields: ['v'] }]]) {
        await store.putSchema('posts', { indexes })
        const found = await store.query({ table: 'posts', order: { field: 'v', direction: 'asc' } })
        expect(found.map((document) => fieldsOf(document)['n'])).toEqual([...ordered.keys(), 'none'])
        const reversed = await store.query({ table: 'posts', order: { field: 'v', direction: 'desc' } })
        expect(reversed.map(({ id }) => id)).toEqual(found.map(({ id }) => id).reverse())
      }
    })

    it('compare every double exactly, and order them all', async () => {
      const { store } = await makeStore(makeHome)
      let tables = 0
      const doubles = fc.uniqueArray(fc.double({ noNaN: true, noDefaultInfinity: true }), {
        minLength: 2,
        maxLength: 30,
        comparator: (a, b) => a === b,
      })
      await fc.assert(
        fc.asyncProperty(doubles, async (numbers) => {
          const table = `doubles_${tables++}`
          const withNeighbours = [...new Set([...numbers, ...numbers.map(neighbour)])]
          await store.putSchema(table, { indexes: [{ name: 'by_n', fields: ['n'] }] })
          await insertAll(
            store,
            table,
            withNeighbours.map((n) => ({ n, m: n })),
          )
          for (const field of ['n', 'm']) {
            const ordered = await store.query({ table, order: { field }, limit: 100 })
            const expected = withNeighbours.toSorted((a, b) => a - b)
            expect(ordered.map((document) => fieldsOf(document)['n'])).toEqual(expected.map((n) => n + 0))
            for (const value of numbers) {
              const found = await store.query({ table, filters: [{ field, op: 'eq', value }] })
              expect(found.map((document) => fieldsOf(document)['n'])).toEqual([value + 0])
              const above = await store.query({ table, filters: [{ field, op: 'gt', value }] })
              expect(above).toHaveLength(withNeighbours.filter((n) => n > value).length)
            }
          }
        }),
        { numRuns: 15 },
      )
    })

    it('reach into objects by dotted paths, not into arrays, and not to names with a dot', async () => {
      const { store } = await makeStore(makeHome)
      await insertAll(store, 'posts', [
        { a: { b: { c: 1 } } },
        { 'a.b.c': 1 },
        { a: [{ b: { c: 1 } }] },
        { a: { 'b.c': 1 } },
        { a: { b: { c: 1, d: 2 } } },
        { a: { 0: 'x' } },
        { a: ['x'] },
      ])
      const found = async (field: string, value: Filter['value']) =>
        (await store.query({ table: 'posts', filters: [{ field, op: 'eq', value }] })).map(fieldsOf)
      expect(await found('a.b.c', 1)).toEqual([{ a: { b: { c: 1 } } }, { a: { b: { c: 1, d: 2 } } }])
      expect(await found('a.0', 'x')).toEqual([{ a: { 0: 'x' } }])
    })

    const invalid: [string, object, string][] = [
      ['a field path that is empty', { filters: [{ field: '', op: 'eq', value: 1 }] }, 'filters.0.field'],
      ['a field path with a quote', { filters: [{ field: 'a"', op: 'eq', value: 1 }] }, 'filters.0.field'],
      ['a field path with an apostrophe', { filters: [{ field: "a'b", op: 'eq', value: 1 }] }, 'filters.0.field'],
      ['a field path with brackets', { filters: [{ field: 'a[0]', op: 'eq', value: 1 }] }, 'filters.0.field'],
      ['a field path with a backslash', { order: { field: 'a\\b' } }, 'order.field'],
      ['a field path with an empty part', { order: { field: 'a..b' } }, 'order.field'],
      ['a field path of nine parts', { order: { field: 'a.a.a.a.a.a.a.a.a' } }, 'order.field'],
      ['a field path of 257 characters', { order: { field: 'a'.repeat(257) } }, 'order.field'],
      ['an unknown operator', { filters: [{ field: 'a', op: 'like', value: 1 }] }, 'filters.0.op'],
      ['a range of booleans', { filters: [{ field: 'a', op: 'gt', value: true }] }, 'filters.0.value'],
      ['a range from null', { filters: [{ field: 'a', op: 'lte', value: null }] }, 'filters.0.value'],
      ['an array as value', { filters: [{ field: 'a', op: 'eq', value: [] }] }, 'filters.0.value'],
      ['an object as value', { filters: [{ field: 'a', op: 'neq', value: {} }] }, 'filters.0.value'],
      [
        'infinity as value',
        { filters: [{ field: 'a', op: 'lt', value: Number.POSITIVE_INFINITY }] },
        'filters.0.value',
      ],
      ['half a surrogate pair as value', { filters: [{ field: 'a', op: 'eq', value: '\u{d800}' }] }, 'filters.0.value'],
      ['U+0000 as value', { filters: [{ field: 'a', op: 'eq', value: '\0' }] }, 'filters.0.value'],
      ['an unknown direction', { order: { field: 'a', direction: 'up' } }, 'order.direction'],
      ['33 filters', { filters: Array(33).fill({ field: 'a', op: 'eq', value: 1 }) }, 'filters'],
    ]

    it.each(invalid)('are refused with %s, naming the part', async (_, query, path) => {
      const { store } = await makeStore(makeHome)
      for (const table of ['never_made', 'posts']) {
        if (table === 'posts') await store.insert('posts', { a: 1 })
        const asked = { table, ...query } as Query
        expect(await rejectionOf(store.query(asked))).toMatchObject({ code: 'invalid_request', path })
        expect(await rejectionOf(store.queryPage(asked, {}))).toMatchObject({ code: 'invalid_request', path })
      }
    })

    it('see every change that was acknowledged before they began', async () => {
      const { store } = await makeStore(makeHome)
      for (let n = 0; n < 30; n++) {
        const { id } = await store.insert('posts', { n })
        expect((await store.get('posts', id)).version).toBe(1)
        expect(await store.query({ table: 'posts', filters: [{ field: 'n', op: 'eq', value: n }] })).toHaveLength(1)
      }
    })
  })
}

/** The next double after this one. */
function neighbour(value: number): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  view.setBigInt64(0, view.getBigInt64(0) + 1n)
  const next = view.getFloat64(0)
  return Number.isFinite(next) ? next : value
}

async function insertAll(
  store: TenantStore,
  table: string,
  documents: JsonObject[],
): Promise<{ id: string; fields: JsonObject }[]> {
  if (documents.length === 0) return []
  const results = await store.transact(documents.map((fields) => ({ op: 'insert', table, fields })))
  return results.flatMap((result, index) =>
    result.op === 'delete' ? [] : [{ id: result.document.id, fields: documents[index] ?? {} }],
  )
}
