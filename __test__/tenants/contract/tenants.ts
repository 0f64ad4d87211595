/** The contract of the provider itself: tenants come, are listed, and go; none sees another. */
import { describe, expect, it } from 'vitest'
import type { TenantInfo, TenantProvider } from '../../../src/tenants/contract.js'
import { rejectionOf } from '../../support/failure.js'
import { everyMethod } from './documents.js'
import { type MakeHome, allDocuments, fieldsOf, makeStore } from './home.js'

const BAD_IDS = ['', 'Demo', '_a', '-a', '.', '..', 'a.b', 'a/b', '../a', 'a b', 'ä', 'a\0', 'a\n', 'a'.repeat(49)]

export function describeTenants(makeHome: MakeHome): void {
  describe('a tenant', () => {
    it('is there when it was created, and after a restart', async () => {
      const home = await makeHome()
      const provider = await home.open()
      const before = Date.now()
      const info = await provider.create('demo')
      expect(info).toMatchObject({ id: 'demo', provider: provider.name })
      expect(info.createdAt).toBeGreaterThanOrEqual(before)
      expect(info.createdAt).toBeLessThanOrEqual(Date.now())
      expect(await provider.list({})).toEqual({ tenants: [info], nextCursor: null })
      await provider.close()
      expect(await (await home.open()).list({})).toEqual({ tenants: [info], nextCursor: null })
    })

    it('cannot be created twice, nor by two at the same time', async () => {
      const provider = await (await makeHome()).open()
      const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => provider.create('demo')))
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'tenant_exists' })
      }
      expect(await rejectionOf(provider.create('demo'))).toMatchObject({ code: 'tenant_exists' })
    })

    it.each(BAD_IDS)('is not called %j', async (id) => {
      const provider = await (await makeHome()).open()
      const refused = { code: 'invalid_tenant_id' }
      expect(await rejectionOf(provider.create(id))).toMatchObject(refused)
      expect(await rejectionOf(provider.delete(id))).toMatchObject(refused)
      expect(await rejectionOf(open(provider, id))).toMatchObject(refused)
      expect((await provider.list({})).tenants).toEqual([])
    })

    it.each(['a', '0', 'a_b-c', 'con', 'nimbus-control', 'a'.repeat(48)])('may be called %s', async (id) => {
      const provider = await (await makeHome()).open()
      await provider.create(id)
      const store = await provider.open(id)
      const { id: document } = await store.insert('posts', { n: 1 })
      expect(fieldsOf(await store.get('posts', document))).toEqual({ n: 1 })
    })

    it('that was never created is not found', async () => {
      const provider = await (await makeHome()).open()
      expect(await rejectionOf(open(provider, 'demo'))).toMatchObject({ code: 'tenant_not_found' })
      expect(await rejectionOf(provider.delete('demo'))).toMatchObject({ code: 'tenant_not_found' })
    })

    it('does not see the documents of another', async () => {
      const { provider, store } = await makeStore(makeHome)
      await provider.create('other')
      const other = await provider.open('other')
      const { id } = await store.insert('posts', { of: 'demo' })
      expect(await rejectionOf(Promise.resolve().then(() => other.get('posts', id)))).toMatchObject({
        code: 'document_not_found',
      })
      await other.insert('posts', { of: 'other' })
      expect((await allDocuments(store, 'posts')).map(fieldsOf)).toEqual([{ of: 'demo' }])
      expect((await allDocuments(other, 'posts')).map(fieldsOf)).toEqual([{ of: 'other' }])
    })

    it('that is deleted is gone, for whoever still holds it too, and after a restart', async () => {
      const home = await makeHome()
      const provider = await home.open()
      await provider.create('demo')
      await provider.create('kept')
      const store = await provider.open('demo')
      await store.insert('posts', {})
      await provider.delete('demo')
      const gone = { code: 'tenant_not_found' }
      expect(await rejectionOf(open(provider, 'demo'))).toMatchObject(gone)
      expect(await rejectionOf(provider.delete('demo'))).toMatchObject(gone)
      for (const [name, attempt] of Object.entries(everyMethod(store, 'posts'))) {
        expect(await rejectionOf(attempt()), name).toMatchObject(gone)
      }
      await provider.close()
      expect((await (await home.open()).list({})).tenants.map(({ id }) => id)).toEqual(['kept'])
    })

    it('created under the name of a deleted one is empty, and not reached through the old one', async () => {
      const { provider, store } = await makeStore(makeHome)
      await store.putSchema('posts', { fields: { a: { type: 'string', required: true } } })
      await store.insert('posts', { a: 'secret' })
      await provider.delete('demo')
      await provider.create('demo')
      const fresh = await provider.open('demo')
      expect(await allDocuments(fresh, 'posts')).toEqual([])
      await fresh.insert('posts', {})
      expect(await rejectionOf(store.insert('posts', { a: 'x' }))).toMatchObject({ code: 'tenant_not_found' })
      expect(await allDocuments(fresh, 'posts')).toHaveLength(1)
    })

    it('that is deleted while it is written to: every write ends, and it is gone', async () => {
      const { provider, store } = await makeStore(makeHome)
      const writes = Array.from({ length: 50 }, (_, n) => store.insert('posts', { n }))
      const deletion = provider.delete('demo')
      const late = Array.from({ length: 50 }, (_, n) => store.insert('posts', { n }))
      const outcomes = await Promise.allSettled([...writes, ...late])
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'tenant_not_found' })
      }
      await deletion
      expect(await rejectionOf(open(provider, 'demo'))).toMatchObject({ code: 'tenant_not_found' })
    })
  })

  describe('the list of tenants', () => {
    it('goes through all of them in order of id, page by page, whoever is deleted meanwhile', async () => {
      const provider = await (await makeHome()).open()
      const ids = ['b', 'a', 'c', 'd-1', 'd_1', 'd1', 'z']
      for (const id of ids) await provider.create(id)
      const sorted = ids.toSorted()
      expect((await listAll(provider, 3)).map(({ id }) => id)).toEqual(sorted)
      const { nextCursor } = await provider.list({ limit: 2 })
      await provider.delete('b')
      const rest = await provider.list({ limit: 10, after: nextCursor ?? '' })
      expect(rest.tenants.map(({ id }) => id)).toEqual(sorted.slice(2))
      expect(rest.nextCursor).toBeNull()
    })

    it('is refused for bad sizes and bad cursors', async () => {
      const { provider, store } = await makeStore(makeHome)
      for (const limit of [0, 1001, 0.5]) {
        expect(await rejectionOf(provider.list({ limit }))).toMatchObject({ code: 'invalid_request', path: 'limit' })
      }
      await store.insert('posts', {})
      await store.insert('posts', {})
      const { nextCursor } = await store.list('posts', { limit: 1 })
      for (const after of ['', 'x', nextCursor ?? '']) {
        expect(await rejectionOf(provider.list({ after }))).toMatchObject({ code: 'invalid_cursor' })
      }
    })
  })

  describe('a provider', () => {
    it('counts what it holds and does', async () => {
      const { provider, store } = await makeStore(makeHome)
      const before = provider.stats()
      await store.insert('posts', {})
      await Promise.all(Array.from({ length: 20 }, () => store.insert('posts', {})))
      const after = provider.stats()
      expect(after).toMatchObject({ tenants: 1, queued: 0, queuedBytes: 0 })
      expect(after.requests - before.requests).toBeGreaterThanOrEqual(21)
      expect(after.commits - before.commits).toBeGreaterThanOrEqual(2)
      expect(after.commits - before.commits).toBeLessThanOrEqual(after.requests - before.requests)
    })

    it('that was closed finishes what was begun and refuses the rest', async () => {
      const home = await makeHome()
      const provider = await home.open()
      await provider.create('demo')
      const store = await provider.open('demo')
      await store.insert('posts', { n: -1 })
      const writes = Array.from({ length: 20 }, (_, n) => store.insert('posts', { n }))
      await Promise.all([provider.close(), ...writes])
      const closed = { code: 'shutting_down' }
      expect(await rejectionOf(store.insert('posts', {}))).toMatchObject(closed)
      expect(await rejectionOf(store.list('posts', {}))).toMatchObject(closed)
      expect(await rejectionOf(provider.create('other'))).toMatchObject(closed)
      expect(await rejectionOf(provider.list({}))).toMatchObject(closed)
      const again = await (await home.open()).open('demo')
      expect(await allDocuments(again, 'posts')).toHaveLength(21)
    })
  })
}

async function open(provider: TenantProvider, id: string): Promise<unknown> {
  return provider.open(id)
}

async function listAll(provider: TenantProvider, limit: number): Promise<TenantInfo[]> {
  const tenants: TenantInfo[] = []
  let after: string | undefined
  for (;;) {
    const page = await provider.list({ limit, after })
    tenants.push(...page.tenants)
    if (page.nextCursor === null) return tenants
    after = page.nextCursor
  }
}
