/** The contract of pages and cursors: a walk meets everything that stays, once, whatever happens meanwhile. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DocumentPage, PageRequest, StoredDocument, TenantStore } from '../../../src/tenants/contract.js'
import type { JsonObject } from '../../../src/tenants/json.js'
import type { Selection } from '../../../src/tenants/query.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, fieldsOf, makeStore } from './home.js'
import { fieldsArbitrary, filterArbitrary, indexesArbitrary, orderArbitrary, select } from './model.js'

export function describePages(makeHome: MakeHome): void {
  describe('pages', () => {
    it('of a table that was never made are empty', async () => {
      const { store } = await makeStore(makeHome)
      expect(await store.list('nothing', {})).toEqual({ documents: [], nextCursor: null })
      expect(await store.queryPage({ table: 'nothing' }, {})).toEqual({ documents: [], nextCursor: null })
    })

    it.each([1, 2, 3, 7, 10, 11, 1000])('of %i documents go through all in order', async (limit) => {
      const { store } = await makeStore(makeHome)
      const inserted = await insertMany(store, 'posts', 10)
      const sizes: number[] = []
      const seen = await walk(
        (page) => store.list('posts', page),
        limit,
        async ({ documents }) => {
          sizes.push(documents.length)
        },
      )
      expect(seen).toEqual(inserted)
      expect(sizes).toEqual(Array.from({ length: Math.ceil(10 / limit) }, (_, n) => Math.min(limit, 10 - n * limit)))
    })

    it('have 100 documents if nothing is said', async () => {
      const { store } = await makeStore(makeHome)
      await insertMany(store, 'posts', 101)
      expect((await store.list('posts', {})).documents).toHaveLength(100)
      expect((await store.queryPage({ table: 'posts' }, {})).documents).toHaveLength(100)
      expect(await store.query({ table: 'posts' })).toHaveLength(100)
    })

    it.each([0, -1, 1001, 1.5, Number.NaN])('are refused in the size %s', async (limit) => {
      const { store } = await makeStore(makeHome)
      expect(await rejectionOf(store.list('posts', { limit }))).toMatchObject({
        code: 'invalid_request',
        path: 'limit',
      })
      expect(await rejectionOf(store.queryPage({ table: 'posts' }, { limit }))).toMatchObject({
        code: 'invalid_request',
      })
      expect(await rejectionOf(store.query({ table: 'posts', limit }))).toMatchObject({ code: 'invalid_request' })
    })

    it('end early where their documents are large, and the walk misses none', async () => {
      const { store } = await makeStore(makeHome)
      const large = 'x'.repeat(900_000)
      const inserted: string[] = []
      for (let n = 0; n < 24; n++) inserted.push((await store.insert('posts', { n, large })).id)
      const sizes: number[] = []
      const seen = await walk(
        (page) => store.list('posts', page),
        1000,
        async ({ documents }) => {
          sizes.push(documents.length)
        },
      )
      expect(seen.map(({ id }) => id)).toEqual(inserted)
      expect(sizes).toEqual([18, 6])
      const tooLarge = await rejectionOf(store.query({ table: 'posts', limit: 24 }))
      expect(tooLarge).toMatchObject({ code: 'invalid_request', path: 'limit' })
      expect(await store.query({ table: 'posts', limit: 18 })).toHaveLength(18)
    })
  })

  describe('a cursor', () => {
    const selection: Selection = {
      table: 'posts',
      filters: [{ field: 'n', op: 'gte', value: 0 }],
      order: { field: 'n', direction: 'asc' },
    }

    it('is refused with a selection other than its own', async () => {
      const { store } = await makeStore(makeHome)
      await insertMany(store, 'posts', 5)
      await insertMany(store, 'others', 5)
      const { nextCursor } = await store.queryPage(selection, { limit: 2 })
      const after = nextCursor ?? ''
      const others: Selection[] = [
        { ...selection, table: 'others' },
        { ...selection, filters: [] },
        { ...selection, filters: [{ field: 'n', op: 'gt', value: 0 }] },
        { ...selection, filters: [{ field: 'n', op: 'gte', value: 1 }] },
        { ...selection, filters: [{ field: 'm', op: 'gte', value: 0 }] },
        { ...selection, order: { field: 'n', direction: 'desc' } },
        { ...selection, order: { field: 'm', direction: 'asc' } },
        { ...selection, order: { direction: 'asc' } },
      ]
      for (const other of others) {
        expect(await rejectionOf(store.queryPage(other, { after }))).toMatchObject({ code: 'invalid_cursor' })
      }
      expect(await rejectionOf(store.list('posts', { after }))).toMatchObject({ code: 'invalid_cursor' })
      expect((await store.queryPage(selection, { after, limit: 5 })).documents).toHaveLength(3)
    })

    it('is refused when any character of it is changed, missing or added', async () => {
      const { store } = await makeStore(makeHome)
      await insertMany(store, 'posts', 5)
      const { nextCursor } = await store.queryPage(selection, { limit: 2 })
      const cursor = nextCursor ?? ''
      const damaged = [
        '',
        '=',
        ' ',
        'null',
        '{}',
        `${cursor}=`,
        `${cursor}A`,
        ` ${cursor}`,
        `${cursor}\n`,
        cursor + cursor,
      ]
      for (let at = 0; at < cursor.length; at++) {
        damaged.push(cursor.slice(0, at), cursor.slice(0, at) + cursor.slice(at + 1))
        damaged.push(cursor.slice(0, at) + (cursor[at] === 'A' ? 'B' : 'A') + cursor.slice(at + 1))
      }
      for (const after of damaged.filter((text) => text !== cursor)) {
        expect(await rejectionOf(store.queryPage(selection, { after })), after).toMatchObject({
          code: 'invalid_cursor',
        })
      }
    })

    it('outlives the document that it points to', async () => {
      const { store } = await makeStore(makeHome)
      await insertMany(store, 'posts', 6)
      const { documents, nextCursor } = await store.queryPage(selection, { limit: 3 })
      for (const { id } of documents) await store.delete('posts', id)
      const rest = await store.queryPage(selection, { after: nextCursor ?? '' })
      expect(rest.documents.map((document) => fieldsOf(document)['n'])).toEqual([3, 4, 5])
    })

    it('outlives a restart of the provider', async () => {
      const home = await makeHome()
      const first = await home.open()
      await first.create('demo')
      const store = await first.open('demo')
      const inserted = await insertMany(store, 'posts', 4)
      const { nextCursor } = await store.list('posts', { limit: 2 })
      await first.close()
      const again = await (await home.open()).open('demo')
      const rest = await again.list('posts', { limit: 2, after: nextCursor ?? '' })
      expect(rest).toEqual({ documents: inserted.slice(2), nextCursor: null })
    })

    it('is not made of values that are too long for it, and says so', async () => {
      const { store } = await makeStore(makeHome)
      for (let n = 0; n < 3; n++) await store.insert('posts', { long: `${'x'.repeat(10_000)}${n}`, short: n })
      const order = { field: 'long' }
      expect((await store.queryPage({ table: 'posts', order }, { limit: 3 })).documents).toHaveLength(3)
      const failure = await rejectionOf(store.queryPage({ table: 'posts', order }, { limit: 2 }))
      expect(failure).toMatchObject({ code: 'invalid_request', path: 'order.field' })
    })

    it('leads through everything that stays, exactly once, in order, whatever is inserted, changed and deleted meanwhile', async () => {
      const { store } = await makeStore(makeHome)
      let tables = 0
      const scenario = fc.record({
        documents: fc.array(fieldsArbitrary, { minLength: 1, maxLength: 25 }),
        filters: fc.array(filterArbitrary, { maxLength: 1 }),
        order: orderArbitrary,
        indexes: indexesArbitrary,
        limit: fc.integer({ min: 1, max: 6 }),
        meanwhile: fc.array(
          fc.record({ what: fc.constantFrom('insert', 'change', 'delete'), fields: fieldsArbitrary, at: fc.nat(100) }),
          { maxLength: 12 },
        ),
      })
      await fc.assert(
        fc.asyncProperty(scenario, async ({ documents, filters, order, indexes, limit, meanwhile }) => {
          const table = `walk_${tables++}`
          await store.putSchema(table, { indexes })
          const inserted = await insertAll(store, table, documents)
          const stays = new Map(inserted.map((document) => [document.id, fieldsOf(document)]))
          const pending = [...meanwhile]
          const seen = await walk(
            (page) => store.queryPage({ table, filters, order }, page),
            limit,
            async () => {
              for (const { what, fields, at } of pending.splice(0, 2)) {
                const target = inserted[at % inserted.length]
                const isThere = target !== undefined && stays.delete(target.id)
                if (what === 'insert' || !isThere) await store.insert(table, fields)
                else if (what === 'delete') await store.delete(table, target.id)
                else await store.patch(table, target.id, fields)
              }
            },
          )
          const expected = select(
            [...stays].map(([id, fields]) => ({ id, fields })),
            filters,
            order,
          )
          expect(seen.filter(({ id }) => stays.has(id)).map(({ id }) => id)).toEqual(expected.map(({ id }) => id))
        }),
        { numRuns: 40 },
      )
    })
  })
}

async function walk(
  read: (page: PageRequest) => Promise<DocumentPage>,
  limit: number,
  between: (page: DocumentPage) => Promise<void> = async () => undefined,
): Promise<StoredDocument[]> {
  const seen: StoredDocument[] = []
  let after: string | undefined
  for (;;) {
    const page = await read({ limit, after })
    expect(page.documents.length).toBeLessThanOrEqual(limit)
    seen.push(...page.documents)
    await between(page)
    if (page.nextCursor === null) return seen
    after = page.nextCursor
  }
}

/** Documents with the fields `n`, from 0 on, in order of id. */
async function insertMany(store: TenantStore, table: string, count: number): Promise<StoredDocument[]> {
  return insertAll(
    store,
    table,
    Array.from({ length: count }, (_, n) => ({ n })),
  )
}

async function insertAll(store: TenantStore, table: string, documents: JsonObject[]): Promise<StoredDocument[]> {
  const results = await store.transact(documents.map((fields) => ({ op: 'insert', table, fields })))
  return results.flatMap((result) => (result.op === 'delete' ? [] : [result.document]))
}
