/** The contract of single documents: what goes in comes out. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TenantStore } from '../../../src/tenants/contract.js'
import { type JsonObject, type JsonValue, MAX_DEPTH, MAX_FIELDS_BYTES } from '../../../src/tenants/json.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, allDocuments, fieldsOf, makeStore } from './home.js'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** A document of which nothing is known but that the contract allows it. */
const storable = (text: string) => text.isWellFormed() && !text.includes('\0')
const anyFields = fc
  .dictionary(fc.string({ unit: 'grapheme' }).filter(storable), fc.jsonValue({ stringUnit: 'grapheme' }), {
    noNullPrototype: true,
  })
  .map((fields): JsonObject => JSON.parse(JSON.stringify(fields)) as JsonObject)
  .filter((fields) => !JSON.stringify(fields).includes('\\u0000'))

export function describeDocuments(makeHome: MakeHome): void {
  describe('documents', () => {
    it('come back as they were inserted, at version 1', async () => {
      const { store } = await makeStore(makeHome)
      const before = Date.now()
      const inserted = await store.insert('posts', { title: 'first', tags: ['a', 'b'] })
      expect(inserted).toMatchObject({ table: 'posts', version: 1, fieldsJson: '{"title":"first","tags":["a","b"]}' })
      expect(inserted.id).toMatch(UUID_V7)
      expect(inserted.createdAt).toBeGreaterThanOrEqual(before)
      expect(inserted.createdAt).toBeLessThanOrEqual(Date.now())
      expect(inserted.updatedAt).toBe(inserted.createdAt)
      expect(await store.get('posts', inserted.id)).toEqual(inserted)
    })

    it('are found by their id in capital letters too', async () => {
      const { store } = await makeStore(makeHome)
      const inserted = await store.insert('posts', {})
      expect(await store.get('posts', inserted.id.toUpperCase())).toEqual(inserted)
    })

    it('get ids in order of insertion, and are listed in it', async () => {
      const { store } = await makeStore(makeHome)
      const ids: string[] = []
      for (let n = 0; n < 50; n++) ids.push((await store.insert('posts', { n })).id)
      expect(ids).toEqual([...new Set(ids)].sort())
      expect((await allDocuments(store, 'posts')).map(({ id }) => id)).toEqual(ids)
    })

    it('inserted at the same time get ids of their own', async () => {
      const { store } = await makeStore(makeHome)
      const inserted = await Promise.all(Array.from({ length: 300 }, (_, n) => store.insert('posts', { n })))
      const ids = inserted.map(({ id }) => id).sort()
      expect(new Set(ids).size).toBe(300)
      expect((await allDocuments(store, 'posts')).map(({ id }) => id)).toEqual(ids)
    })

    it('keep every JSON value exactly', async () => {
      const { store } = await makeStore(makeHome)
      await fc.assert(
        fc.asyncProperty(fc.array(anyFields, { minLength: 1, maxLength: 20 }), async (documents) => {
          const inserted = await Promise.all(documents.map((fields) => store.insert('any', fields)))
          for (const [index, { id }] of inserted.entries()) {
            expect((await store.get('any', id)).fieldsJson).toBe(JSON.stringify(documents[index]))
          }
        }),
        { numRuns: 20 },
      )
    })

    it('keep members with names that mean something to JavaScript', async () => {
      const { store } = await makeStore(makeHome)
      const fields = JSON.parse('{"__proto__":{"x":1},"constructor":2,"toString":null,"":3}') as JsonObject
      const inserted = await store.insert('posts', fields)
      expect(inserted.fieldsJson).toBe('{"__proto__":{"x":1},"constructor":2,"toString":null,"":3}')
      const patched = await store.patch('posts', inserted.id, JSON.parse('{"__proto__":{"y":2}}') as JsonObject)
      expect(patched.fieldsJson).toBe('{"__proto__":{"x":1,"y":2},"constructor":2,"toString":null,"":3}')
    })

    it.each<[string, JsonValue, string]>([
      ['half a surrogate pair', { a: [{ b: 'x\u{d800}' }] }, 'fields.a.0.b'],
      ['a name with half a surrogate pair', { a: { '\u{dc00}': 1 } }, 'fields.a.\u{fffd}'],
      ['U+0000', { a: '\0' }, 'fields.a'],
      ['a name with U+0000', { 'a\0b': 1 }, 'fields.a\u{fffd}b'],
      ['a number that JSON cannot hold', { a: { b: Number.POSITIVE_INFINITY } }, 'fields.a.b'],
      ['more depth than is stored', nested(MAX_DEPTH + 1), `fields.${Array(8).fill('a').join('.')}`],
      ['an array instead of an object', [1], 'fields'],
      ['a string instead of an object', 'text', 'fields'],
      ['null instead of an object', null, 'fields'],
    ])('refuse %s, naming the member', async (_, fields, path) => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', {})
      const writes = [
        store.insert('posts', fields as JsonObject),
        store.patch('posts', id, fields as JsonObject),
        store.transact([{ op: 'insert', table: 'posts', fields: fields as JsonObject }]),
      ]
      for (const write of writes) expect(await rejectionOf(write)).toMatchObject({ code: 'invalid_request', path })
      expect(await allDocuments(store, 'posts')).toMatchObject([{ id, version: 1, fieldsJson: '{}' }])
    })

    it('are stored at exactly the limits of depth and size, and refused one byte above', async () => {
      const { store } = await makeStore(makeHome)
      const deep = await store.insert('posts', nested(MAX_DEPTH))
      expect(fieldsOf(await store.get('posts', deep.id))).toEqual(nested(MAX_DEPTH))
      // An ä is two bytes; {"a":""} is eight.
      const largest = { a: 'ä'.repeat((MAX_FIELDS_BYTES - 8) / 2) }
      const large = await store.insert('posts', largest)
      expect(fieldsOf(await store.get('posts', large.id))).toEqual(largest)
      expect(await rejectionOf(store.insert('posts', { a: `${largest.a}x` }))).toMatchObject({ code: 'body_too_large' })
      expect(await rejectionOf(store.patch('posts', large.id, { b: 1 }))).toMatchObject({ code: 'body_too_large' })
      expect((await store.get('posts', large.id)).version).toBe(1)
    })

    it('survive a restart of the provider', async () => {
      const home = await makeHome()
      const first = await home.open()
      await first.create('demo')
      const inserted = await (await first.open('demo')).insert('posts', { title: 'kept' })
      await first.close()
      const second = await home.open()
      expect(await (await second.open('demo')).get('posts', inserted.id)).toEqual(inserted)
    })

    it('inserted after a restart have greater ids than those before', async () => {
      const home = await makeHome()
      const ids: string[] = []
      for (let round = 0; round < 3; round++) {
        const provider = await home.open()
        if (round === 0) await provider.create('demo')
        const store = await provider.open('demo')
        for (let n = 0; n < 5; n++) ids.push((await store.insert('posts', {})).id)
        await provider.close()
      }
      expect(ids).toEqual([...new Set(ids)].sort())
    })

    const badNames = ['', '1a', 'a b', 'a-b', 'a.b', 'ä', 'a'.repeat(64), 'a"b', "a';--", 'a\0', '../a']

    it.each(badNames)('are not kept in a table called %j', async (table) => {
      const { store } = await makeStore(makeHome)
      for (const [name, attempt] of Object.entries(everyMethod(store, table))) {
        expect(await rejectionOf(attempt()), name).toMatchObject({ code: 'invalid_request', path: 'table' })
      }
    })

    it.each(['a', '_', 'Posts', 'sqlite_master', 'nimbus_tables', 'select', 'docs_1', 'a'.repeat(63)])(
      'are kept in a table called %s',
      async (table) => {
        const { store } = await makeStore(makeHome)
        const inserted = await store.insert(table, { n: 1 })
        expect(await store.get(table, inserted.id)).toEqual(inserted)
      },
    )

    it('of tables whose names differ in capitals only are apart', async () => {
      const { store } = await makeStore(makeHome)
      await store.insert('posts', { n: 1 })
      await store.insert('Posts', { n: 2 })
      expect((await allDocuments(store, 'posts')).map(fieldsOf)).toEqual([{ n: 1 }])
      expect((await allDocuments(store, 'Posts')).map(fieldsOf)).toEqual([{ n: 2 }])
    })
  })
}

const ANY_ID = '01890a5d-ac96-774b-bcce-b302099a8057'

/** Every method that takes a table, with arguments that are valid but for the table. */
export function everyMethod(store: TenantStore, table: string): Record<string, () => Promise<unknown>> {
  return {
    insert: () => store.insert(table, {}),
    get: async () => store.get(table, ANY_ID),
    patch: () => store.patch(table, ANY_ID, {}),
    delete: () => store.delete(table, ANY_ID),
    list: () => store.list(table, {}),
    query: () => store.query({ table }),
    queryPage: () => store.queryPage({ table }, {}),
    putSchema: () => store.putSchema(table, {}),
    getSchema: async () => store.getSchema(table),
    deleteSchema: () => store.deleteSchema(table),
    transact: () => store.transact([{ op: 'insert', table, fields: {} }]),
  }
}

/** Objects within each other, `depth` of them. */
function nested(depth: number): JsonObject {
  let fields: JsonObject = {}
  for (let level = 1; level < depth; level++) fields = { a: fields }
  return fields
}
