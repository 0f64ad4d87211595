/** The contract of schemas: what a document must be like, which indexes there are, and what a change of either finds. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TenantStore } from '../../../src/tenants/contract.js'
import type { JsonObject, JsonValue } from '../../../src/tenants/json.js'
import type { FieldType, TableSchema, TableSchemaInput } from '../../../src/tenants/schema.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, allDocuments, fieldsOf, makeStore } from './home.js'

const NOTHING: TableSchema = { fields: {}, indexes: [] }

const FULL: TableSchemaInput = {
  fields: { title: { type: 'string', required: true }, 'author.born': { type: 'datetime' } },
  indexes: [
    { name: 'by_title', fields: ['title'], unique: true },
    { name: 'by_author', fields: ['author.name', 'title'] },
  ],
}
const FULL_SPELLED_OUT: TableSchema = {
  fields: { title: { type: 'string', required: true }, 'author.born': { type: 'datetime', required: false } },
  indexes: [
    { name: 'by_title', fields: ['title'], unique: true },
    { name: 'by_author', fields: ['author.name', 'title'], unique: false },
  ],
}

/** One value of each JSON type; which of them a field type admits. */
const VALUES: Record<string, JsonValue> = {
  string: 'text',
  number: 1.5,
  boolean: false,
  datetime: '2026-01-31T09:30:00.000Z',
  null: null,
  array: ['text'],
  object: { a: 1 },
}
const ADMITTED: Record<FieldType, readonly string[]> = {
  string: ['string', 'datetime', 'null'],
  number: ['number', 'null'],
  boolean: ['boolean', 'null'],
  datetime: ['datetime', 'null'],
  json: Object.keys(VALUES),
}

export function describeSchemas(makeHome: MakeHome): void {
  describe('a schema', () => {
    it('comes back with everything spelled out, also after a restart', async () => {
      const home = await makeHome()
      const provider = await home.open()
      await provider.create('demo')
      const store = await provider.open('demo')
      expect(await store.putSchema('posts', FULL)).toEqual(FULL_SPELLED_OUT)
      expect(await store.getSchema('posts')).toEqual(FULL_SPELLED_OUT)
      await provider.close()
      const again = await (await home.open()).open('demo')
      expect(await again.getSchema('posts')).toEqual(FULL_SPELLED_OUT)
      expect(await rejectionOf(again.insert('posts', {}))).toMatchObject({ code: 'schema_violation', path: 'title' })
      await again.insert('posts', { title: 'a' })
      expect(await rejectionOf(again.insert('posts', { title: 'a' }))).toMatchObject({ code: 'unique_violation' })
    })

    it('that nobody made, or that was taken away, is not found', async () => {
      const { store } = await makeStore(makeHome)
      const notFound = { code: 'document_not_found' }
      await store.insert('made', {})
      for (const table of ['made', 'never_made']) {
        expect(await rejectionOf(getSchema(store, table))).toMatchObject(notFound)
        expect(await rejectionOf(store.deleteSchema(table))).toMatchObject(notFound)
      }
      await store.putSchema('made', {})
      expect(await store.getSchema('made')).toEqual(NOTHING)
      await store.deleteSchema('made')
      expect(await rejectionOf(getSchema(store, 'made'))).toMatchObject(notFound)
    })

    it('of one table leaves the others alone', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('posts', FULL)
      await store.insert('others', { title: 1 })
      await store.insert('others', { title: 1 })
    })

    const matrix = Object.keys(ADMITTED).flatMap((type) => Object.keys(VALUES).map((value) => [type, value] as const))

    it.each(matrix)('with a field of type %s given a %s', async (typeName, valueName) => {
      const type = typeName as FieldType
      const value = VALUES[valueName] ?? null
      const admitted = ADMITTED[type].includes(valueName)
      const { store } = await makeStore(makeHome)
      for (const [table, required] of [
        ['optional', false],
        ['required', true],
      ] as const) {
        await store.putSchema(table, { fields: { 'a.b': { type, required } } })
        const isFine = admitted && !(required && value === null && type !== 'json')
        await settles(store.insert(table, { a: { b: value } }), isFine, { code: 'schema_violation', path: 'a.b' })
        await settles(store.insert(table, {}), !required, { code: 'schema_violation', path: 'a.b' })
        // The same document, stored before the schema came.
        const before = `before_${table}`
        const { id } = await store.insert(before, { a: { b: value } })
        const violation = { code: 'schema_violation', path: 'a.b', detail: { id } }
        await settles(store.putSchema(before, { fields: { 'a.b': { type, required } } }), isFine, violation)
      }
    })

    it('is refused for a stored document exactly when writing the document again would be refused, or change it', async () => {
      const { store } = await makeStore(makeHome)
      const text = fc.oneof(
        fc.constantFrom('', 'now', '2460000', '2026-01-31', '2026-02-30T00:00:00.000Z', '2026-01-31T24:00:00.000Z'),
        fc.constantFrom('2026-01-31T09:30:00.000z', '2026-01-31T09:30:60.000Z', '2026-01-31T09:30:00.0000Z', '09:30'),
        fc
          .date({
            noInvalidDate: true,
            min: new Date('-000001-01-01T00:00:00Z'),
            max: new Date('+010000-12-31T00:00:00Z'),
          })
          .map((date) => date.toISOString()),
        fc
          .tuple(
            fc.constant('2026-01-31T09:30:00'),
            fc.constantFrom('.1', '.12', '.1234', ''),
            fc.constantFrom('Z', '+00:00', ''),
          )
          .map((parts) => parts.join('')),
      )
      const value = fc.oneof(
        text,
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.constantFrom(...Object.values(VALUES)),
      )
      const scenario = fc.record({
        documents: fc.array(
          fc.record({ a: fc.oneof(value, fc.record({ b: value })), c: value }, { requiredKeys: [] }),
          { minLength: 1, maxLength: 8 },
        ),
        schema: fc.record({
          fields: fc.dictionary(
            fc.constantFrom('a', 'a.b', 'c'),
            fc.record({
              type: fc.constantFrom('string', 'number', 'boolean', 'datetime', 'json'),
              required: fc.boolean(),
            }),
            { noNullPrototype: true },
          ),
        }),
      })
      let tables = 0
      await fc.assert(
        fc.asyncProperty(scenario, async ({ documents, schema }) => {
          const [before, after] = [`before_${tables}`, `after_${tables++}`]
          await store.putSchema(after, schema)
          let firstViolating: string | undefined
          for (const fields of documents) {
            const { id, fieldsJson } = await store.insert(before, fields)
            const again = await store.insert(after, fields).then((document) => document.fieldsJson, codeOf)
            if (again !== fieldsJson) firstViolating ??= id
          }
          const outcome = await store.putSchema(before, schema).then(
            () => undefined,
            (error: unknown) => error,
          )
          if (firstViolating === undefined) expect(outcome).toBeUndefined()
          else expect(outcome).toMatchObject({ code: 'schema_violation', detail: { id: firstViolating } })
        }),
        { numRuns: 40 },
      )
    })

    it('applies to changes as to insertions', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('posts', { fields: { title: { type: 'string', required: true } } })
      const { id } = await store.insert('posts', { title: 'a', free: 1 })
      for (const patch of [{ title: 1 }, { title: null }] as JsonObject[]) {
        const failure = await rejectionOf(store.patch('posts', id, patch))
        expect(failure).toMatchObject({ code: 'schema_violation', path: 'title' })
      }
      expect(fieldsOf(await store.patch('posts', id, { title: 'b', free: null }))).toEqual({ title: 'b' })
    })

    it('that stored documents violate is refused, naming field and document, and the old one stays', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('posts', { fields: { n: { type: 'number' } }, indexes: [{ name: 'by_n', fields: ['n'] }] })
      for (let n = 0; n < 10; n++) await store.insert('posts', { n, title: 'text' })
      const { id } = await store.insert('posts', { n: 10, title: 7 })
      const failure = await rejectionOf(store.putSchema('posts', { fields: { title: { type: 'string' } } }))
      expect(failure).toMatchObject({ code: 'schema_violation', path: 'title', detail: { id } })
      expect((await store.getSchema('posts')).fields).toEqual({ n: { type: 'number', required: false } })
      expect(await rejectionOf(store.insert('posts', { n: 'x' }))).toMatchObject({ code: 'schema_violation' })
      await store.delete('posts', id)
      await store.putSchema('posts', { fields: { title: { type: 'string' } } })
      await store.insert('posts', { n: 'x' })
    })

    it('is put while documents are inserted: none is left that violates it', async () => {
      const { store } = await makeStore(makeHome)
      await store.insert('posts', { n: 0 })
      for (let round = 0; round < 5; round++) {
        const inserts = Array.from({ length: 20 }, (_, n) => store.insert('posts', { n: n % 2 ? n : `text ${n}` }))
        const put = store.putSchema('posts', { fields: { n: { type: 'number' } } })
        const more = Array.from({ length: 20 }, (_, n) => store.insert('posts', { n: n % 2 ? n : `text ${n}` }))
        const [outcome] = await Promise.allSettled([put, ...inserts, ...more])
        const kinds = new Set((await allDocuments(store, 'posts')).map((document) => typeof fieldsOf(document)['n']))
        if (outcome.status === 'fulfilled') expect(kinds).toEqual(new Set(['number']))
        else expect(outcome.reason).toMatchObject({ code: 'schema_violation', path: 'n' })
        if (outcome.status === 'fulfilled') await store.deleteSchema('posts')
      }
    })

    it.each<[string, TableSchemaInput, string]>([
      ['a field path that is none', { fields: { 'a b': { type: 'string' } } }, 'fields'],
      ['an index name that is none', { indexes: [{ name: 'a b', fields: ['a'] }] }, 'indexes.0.name'],
      ['an index without fields', { indexes: [{ name: 'a', fields: [] }] }, 'indexes.0.fields'],
      ['an index of nine fields', { indexes: [{ name: 'a', fields: 'abcdefghi'.split('') }] }, 'indexes.0.fields'],
      ['an index of one field twice', { indexes: [{ name: 'a', fields: ['a', 'a'] }] }, 'indexes.0.fields'],
      ['an index on what is no path', { indexes: [{ name: 'a', fields: ["a'"] }] }, 'indexes.0.fields'],
      ['two indexes of one name', { indexes: ['a', 'b'].map((field) => ({ name: 'i', fields: [field] })) }, 'indexes'],
      ['33 indexes', { indexes: Array.from({ length: 33 }, (_, n) => ({ name: `i${n}`, fields: ['a'] })) }, 'indexes'],
      [
        '257 fields',
        { fields: Object.fromEntries(Array.from({ length: 257 }, (_, n) => [`f${n}`, { type: 'json' }])) },
        'fields',
      ],
    ])('with %s is refused', async (_, schema, path) => {
      const { store } = await makeStore(makeHome)
      expect(await rejectionOf(store.putSchema('posts', schema))).toMatchObject({ code: 'invalid_request', path })
      expect(await rejectionOf(getSchema(store, 'posts'))).toMatchObject({ code: 'document_not_found' })
    })
  })

  describe('a datetime', () => {
    const schema: TableSchemaInput = {
      fields: { at: { type: 'datetime' } },
      indexes: [{ name: 'by_at', fields: ['at'] }],
    }

    it('is stored in UTC with milliseconds, so that its order is that of time', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('events', schema)
      const sent = [
        '2026-01-31T10:30:00+01:00',
        '2026-01-31T09:29:59.9Z',
        '2026-01-31T09:30:00.001000Z',
        '2026-01-31t04:00:00-05:30',
        '2026-02-01T00:00:00.000Z',
      ]
      for (const at of sent) await store.insert('events', { at })
      const ordered = await store.query({ table: 'events', order: { field: 'at' } })
      expect(ordered.map((document) => fieldsOf(document)['at'])).toEqual([
        '2026-01-31T09:29:59.900Z',
        '2026-01-31T09:30:00.000Z',
        '2026-01-31T09:30:00.000Z',
        '2026-01-31T09:30:00.001Z',
        '2026-02-01T00:00:00.000Z',
      ])
      const filters = [{ field: 'at', op: 'lte', value: '2026-01-31T12:30:00+03:00' }] as const
      expect(await store.query({ table: 'events', filters })).toHaveLength(3)
      const equal = [{ field: 'at', op: 'eq', value: '2026-01-31T08:30:00-01:00' }] as const
      expect(await store.query({ table: 'events', filters: equal })).toHaveLength(2)
    })

    it('is compared with datetimes only', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('events', schema)
      const filters = [{ field: 'at', op: 'gt', value: 'yesterday' }] as const
      const failure = await rejectionOf(store.query({ table: 'events', filters }))
      expect(failure).toMatchObject({ code: 'invalid_request', path: 'filters.0.value' })
    })

    it.each(['2026-01-31T10:30:00+01:00', '2026-01-31T09:30:00Z', '2026-02-30T09:30:00.000Z', 'today', ''])(
      'that was stored before its schema as %j is a violation: schemas do not rewrite documents',
      async (at) => {
        const { store } = await makeStore(makeHome)
        const { id } = await store.insert('events', { at })
        const failure = await rejectionOf(store.putSchema('events', schema))
        expect(failure).toMatchObject({ code: 'schema_violation', path: 'at', detail: { id } })
        expect(fieldsOf(await store.get('events', id))).toEqual({ at })
      },
    )
  })

  describe('a unique index', () => {
    const unique = (...fields: string[]): TableSchemaInput => ({ indexes: [{ name: 'one', fields, unique: true }] })
    const violation = { code: 'unique_violation', detail: { index: 'one' } }

    it('refuses a second document with the same value, by insertion or by change', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', unique('mail'))
      const first = await store.insert('users', { mail: 'a' })
      const second = await store.insert('users', { mail: 'b' })
      expect(await rejectionOf(store.insert('users', { mail: 'a' }))).toMatchObject(violation)
      expect(await rejectionOf(store.patch('users', second.id, { mail: 'a' }))).toMatchObject(violation)
      expect(await store.get('users', second.id)).toEqual(second)
      await store.patch('users', first.id, { mail: 'c' })
      await store.patch('users', second.id, { mail: 'a' })
      await store.delete('users', first.id)
      await store.insert('users', { mail: 'c' })
    })

    it('tells values of different types apart', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', unique('v'))
      for (const v of [0, 1, '0', '1', 'true', false, true]) await store.insert('users', { v })
      for (const v of [0, 1, '0', '1', 'true', false, true]) {
        expect(await rejectionOf(store.insert('users', { v }))).toMatchObject(violation)
      }
    })

    it('lets documents pass in which a field is missing, null, an array or an object', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', unique('a', 'b'))
      const documents: JsonObject[] = [{ a: 1 }, { a: 1, b: null }, { a: 1, b: [] }, { a: 1, b: {} }, {}]
      for (const fields of [...documents, ...documents]) await store.insert('users', fields)
      await store.insert('users', { a: 1, b: 2 })
      await store.insert('users', { a: 2, b: 2 })
      expect(await rejectionOf(store.insert('users', { a: 1, b: 2 }))).toMatchObject(violation)
    })

    it('is not made over documents that share a value, and the old schema stays', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', { indexes: [{ name: 'old', fields: ['n'] }] })
      for (const mail of ['a', 'b', 'a']) await store.insert('users', { mail })
      expect(await rejectionOf(store.putSchema('users', unique('mail')))).toMatchObject(violation)
      expect((await store.getSchema('users')).indexes).toEqual([{ name: 'old', fields: ['n'], unique: false }])
      await store.insert('users', { mail: 'a' })
    })

    it('lets exactly one of many insertions at the same time through', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', unique('mail'))
      const outcomes = await Promise.allSettled(
        Array.from({ length: 30 }, (_, n) => store.insert('users', { mail: 'a', n })),
      )
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(violation)
      expect(await allDocuments(store, 'users')).toHaveLength(1)
    })

    it('is gone when its schema is, or when another schema does not name it', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', unique('mail'))
      await store.insert('users', { mail: 'a' })
      await store.putSchema('users', { indexes: [{ name: 'one', fields: ['mail'] }] })
      await store.insert('users', { mail: 'a' })
      await store.putSchema('others', unique('mail'))
      await store.insert('others', { mail: 'a' })
      await store.deleteSchema('others')
      await store.insert('others', { mail: 'a' })
    })

    it('is told from another on other fields', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', {
        indexes: [
          { name: 'one', fields: ['a'], unique: true },
          { name: 'two', fields: ['b', 'c'], unique: true },
          { name: 'three', fields: ['c', 'b', 'd'], unique: true },
        ],
      })
      await store.insert('users', { a: 1, b: 1, c: 1, d: 1 })
      const failures = [
        ['one', { a: 1, b: 2, c: 2, d: 2 }],
        ['two', { a: 2, b: 1, c: 1, d: 2 }],
      ] as const
      for (const [index, fields] of failures) {
        const failure = await rejectionOf(store.insert('users', fields))
        expect(failure).toMatchObject({ code: 'unique_violation', detail: { index } })
      }
    })
  })
}

function codeOf(error: unknown): string {
  expect(error).toMatchObject({ code: 'schema_violation' })
  return 'schema_violation'
}

async function settles(promise: Promise<unknown>, isFine: boolean, failure: object): Promise<void> {
  if (isFine) await promise
  else expect(await rejectionOf(promise)).toMatchObject(failure)
}

async function getSchema(store: TenantStore, table: string): Promise<TableSchema> {
  return store.getSchema(table)
}
