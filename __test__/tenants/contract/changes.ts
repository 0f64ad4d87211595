/** The contract of changes: versions, merges, deletions, and who wins when many change one document. */
import { describe, expect, it } from 'vitest'
import type { TenantStore } from '../../../src/tenants/contract.js'
import type { JsonObject } from '../../../src/tenants/json.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, allDocuments, fieldsOf, makeStore } from './home.js'

export function describeChanges(makeHome: MakeHome): void {
  describe('changes', () => {
    it('merge into the fields, remove what is null, and count the version up', async () => {
      const { store } = await makeStore(makeHome)
      const inserted = await store.insert('posts', { title: 'a', author: { name: 'x', age: 3 }, tags: [1, 2] })
      const patch: JsonObject = {
        title: null,
        author: { age: null, city: 'y' },
        tags: [3],
        fresh: { deep: null, kept: 1 },
      }
      const patched = await store.patch('posts', inserted.id, patch)
      expect(fieldsOf(patched)).toEqual({ author: { name: 'x', city: 'y' }, tags: [3], fresh: { kept: 1 } })
      expect(patched).toMatchObject({ id: inserted.id, version: 2, createdAt: inserted.createdAt })
      expect(patched.updatedAt).toBeGreaterThanOrEqual(inserted.updatedAt)
      expect(await store.get('posts', inserted.id)).toEqual(patched)
    })

    it('count the version up even if nothing else differs', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', { a: 1 })
      expect(await store.patch('posts', id, {})).toMatchObject({ version: 2, fieldsJson: '{"a":1}' })
    })

    it('apply only to the version that they ask for', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', { n: 0 })
      expect(await store.patch('posts', id, { n: 1 }, 1)).toMatchObject({ version: 2 })
      const conflict = { code: 'version_conflict', detail: { version: 2, if_version: 1 } }
      expect(await rejectionOf(store.patch('posts', id, { n: 2 }, 1))).toMatchObject(conflict)
      expect(await rejectionOf(store.delete('posts', id, 1))).toMatchObject(conflict)
      expect(await store.get('posts', id)).toMatchObject({ version: 2, fieldsJson: '{"n":1}' })
      await store.delete('posts', id, 2)
      expect(await allDocuments(store, 'posts')).toEqual([])
    })

    it.each([0, -1, 1.5, Number.NaN, 2 ** 60])('are refused for the version %s', async (version) => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', {})
      expect(await rejectionOf(store.patch('posts', id, {}, version))).toMatchObject({ code: 'invalid_request' })
      expect(await rejectionOf(store.delete('posts', id, version))).toMatchObject({ code: 'invalid_request' })
    })

    it('of one document at the same time all take effect', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', {})
      const patches = Array.from({ length: 50 }, (_, n) => store.patch('posts', id, { [`field${n}`]: n }))
      const versions = (await Promise.all(patches)).map(({ version }) => version)
      expect(versions.sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, n) => n + 2))
      const final = await store.get('posts', id)
      expect(fieldsOf(final)).toEqual(Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`field${n}`, n])))
    })

    it('that ask for the same version at the same time: exactly one wins', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', {})
      const patches = Array.from({ length: 20 }, (_, n) => store.patch('posts', id, { winner: n }, 1))
      const outcomes = await Promise.allSettled(patches)
      const won = outcomes.flatMap((outcome, n) => (outcome.status === 'fulfilled' ? [n] : []))
      const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
      expect(won).toHaveLength(1)
      for (const reason of lost) expect(reason).toMatchObject({ code: 'version_conflict' })
      expect(fieldsOf(await store.get('posts', id))).toEqual({ winner: won[0] })
    })

    it('and a deletion at the same time leave either, never a document that comes back', async () => {
      const { store } = await makeStore(makeHome)
      for (let round = 0; round < 10; round++) {
        const { id } = await store.insert('posts', {})
        const patches = Array.from({ length: 5 }, (_, n) => store.patch('posts', id, { n }))
        const outcomes = await Promise.allSettled([
          ...patches.slice(0, 2),
          store.delete('posts', id),
          ...patches.slice(2),
        ])
        expect(outcomes[2]).toMatchObject({ status: 'fulfilled' })
        expect(await rejectionOf(getLater(store, id))).toMatchObject({ code: 'document_not_found' })
      }
    })
  })

  describe('a document that is', () => {
    const states = {
      'never made, in a table never made': async () => ({
        table: 'nothing',
        id: '01890a5d-ac96-774b-bcce-b302099a8057',
      }),
      'never made': async (store: TenantStore) => {
        await store.insert('posts', {})
        return { table: 'posts', id: '01890a5d-ac96-774b-bcce-b302099a8057' }
      },
      deleted: async (store: TenantStore) => {
        const { id } = await store.insert('posts', {})
        await store.delete('posts', id)
        return { table: 'posts', id }
      },
      'in another table': async (store: TenantStore) => {
        await store.insert('posts', {})
        return { table: 'posts', id: (await store.insert('others', {})).id }
      },
      'named by an id that shares its time and counter': async (store: TenantStore) => {
        const { id } = await store.insert('posts', {})
        return { table: 'posts', id: id.slice(0, -1) + (id.endsWith('0') ? '1' : '0') }
      },
      'named by no UUID': async (store: TenantStore) => {
        await store.insert('posts', {})
        return { table: 'posts', id: "' OR 1=1 --" }
      },
      'named by a UUID of another version': async (store: TenantStore) => {
        await store.insert('posts', {})
        return { table: 'posts', id: 'f47ac10b-58cc-4372-a567-0e02b2c3d479' }
      },
    }
    const methods: Record<string, (store: TenantStore, table: string, id: string) => Promise<unknown>> = {
      get: async (store, table, id) => store.get(table, id),
      patch: (store, table, id) => store.patch(table, id, { a: 1 }),
      'patch with a version': (store, table, id) => store.patch(table, id, { a: 1 }, 1),
      delete: (store, table, id) => store.delete(table, id),
      'delete with a version': (store, table, id) => store.delete(table, id, 1),
      update: (store, table, id) => store.transact([{ op: 'update', table, id, fields: {} }]),
      'delete in a transaction': (store, table, id) => store.transact([{ op: 'delete', table, id }]),
    }
    const pairs = Object.keys(states).flatMap((state) => Object.keys(methods).map((method) => [state, method] as const))

    it.each(pairs)('%s is not found by %s', async (state, method) => {
      const { store } = await makeStore(makeHome)
      const { table, id } = await states[state as keyof typeof states](store)
      const attempt = methods[method]?.(store, table, id) ?? Promise.resolve()
      expect(await rejectionOf(attempt)).toMatchObject({ code: 'document_not_found' })
    })
  })
}

async function getLater(store: TenantStore, id: string): Promise<unknown> {
  return store.get('posts', id)
}
