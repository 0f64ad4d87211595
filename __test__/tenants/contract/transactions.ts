/** The contract of transactions: all operations or none, each seeing those before it. */
import { describe, expect, it } from 'vitest'
import type { Operation, TenantStore } from '../../../src/tenants/contract.js'
import type { JsonObject } from '../../../src/tenants/json.js'
import { rejectionOf } from '../../support/failure.js'
import { type MakeHome, allDocuments, fieldsOf, makeStore } from './home.js'

const NEVER_MADE = '01890a5d-ac96-774b-bcce-b302099a8057'

export function describeTransactions(makeHome: MakeHome): void {
  describe('a transaction', () => {
    it('answers each operation in its place', async () => {
      const { store } = await makeStore(makeHome)
      const changed = await store.insert('posts', { n: 1 })
      const removed = await store.insert('posts', { n: 2 })
      const results = await store.transact([
        { op: 'update', table: 'posts', id: changed.id, fields: { n: 3 }, ifVersion: 1 },
        { op: 'insert', table: 'others', fields: { n: 4 } },
        { op: 'delete', table: 'posts', id: removed.id },
      ])
      expect(results).toMatchObject([
        { op: 'update', document: { id: changed.id, version: 2, fieldsJson: '{"n":3}' } },
        { op: 'insert', document: { table: 'others', version: 1, fieldsJson: '{"n":4}' } },
        { op: 'delete', table: 'posts', id: removed.id },
      ])
      expect(results).toHaveLength(3)
      const [updated, inserted] = results
      expect(await allDocuments(store, 'posts')).toEqual([updated && 'document' in updated && updated.document])
      expect(await allDocuments(store, 'others')).toEqual([inserted && 'document' in inserted && inserted.document])
    })

    it('lets each operation see those before it', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', { a: 1 })
      const results = await store.transact([
        { op: 'update', table: 'posts', id, fields: { b: 2 }, ifVersion: 1 },
        { op: 'update', table: 'posts', id: id.toUpperCase(), fields: { c: 3 }, ifVersion: 2 },
        { op: 'update', table: 'posts', id, fields: { a: null } },
      ])
      expect(results.at(-1)).toMatchObject({ op: 'update', document: { version: 4, fieldsJson: '{"b":2,"c":3}' } })
      expect(fieldsOf(await store.get('posts', id))).toEqual({ b: 2, c: 3 })
      const gone: Operation[] = [
        { op: 'delete', table: 'posts', id },
        { op: 'update', table: 'posts', id, fields: {} },
      ]
      const failure = await rejectionOf(store.transact(gone))
      expect(failure).toMatchObject({ code: 'document_not_found', detail: { operation: 1 } })
      expect(fieldsOf(await store.get('posts', id))).toEqual({ b: 2, c: 3 })
    })

    it('may free a unique value and take it', async () => {
      const { store } = await makeStore(makeHome)
      await store.putSchema('users', { indexes: [{ name: 'one', fields: ['mail'], unique: true }] })
      const { id } = await store.insert('users', { mail: 'a' })
      await store.transact([
        { op: 'delete', table: 'users', id },
        { op: 'insert', table: 'users', fields: { mail: 'a' } },
      ])
      expect((await allDocuments(store, 'users')).map(fieldsOf)).toEqual([{ mail: 'a' }])
    })

    const failures: Record<string, [Operation, object]> = {
      'a document that is not there': [
        { op: 'update', table: 'users', id: NEVER_MADE, fields: {} },
        { code: 'document_not_found' },
      ],
      'a deletion of what is not there': [{ op: 'delete', table: 'users', id: 'x' }, { code: 'document_not_found' }],
      'another version': [
        { op: 'delete', table: 'users', id: 'kept', ifVersion: 2 },
        { code: 'version_conflict', detail: { version: 1, if_version: 2 } },
      ],
      'a violated schema': [
        { op: 'insert', table: 'users', fields: { mail: 1 } },
        { code: 'schema_violation', path: 'mail' },
      ],
      'a unique value that is taken': [
        { op: 'insert', table: 'users', fields: { mail: 'kept' } },
        { code: 'unique_violation', detail: { index: 'one' } },
      ],
      'fields that cannot be stored': [
        { op: 'insert', table: 'users', fields: { bad: '\0' } },
        { code: 'invalid_request', path: 'fields.bad' },
      ],
      'a table name that is none': [
        { op: 'insert', table: 'a b', fields: {} },
        { code: 'invalid_request', path: 'table' },
      ],
    }

    it.each(Object.keys(failures))('with %s does nothing, and names the operation', async (name) => {
      const { store } = await makeStore(makeHome)
      const kept = await prepare(store)
      const [failing, failure] = failures[name] ?? []
      if (failing === undefined || failure === undefined) return expect.fail('no such case')
      const at = 'id' in failing && failing.id === 'kept' ? { ...failing, id: kept } : failing
      for (const position of [0, 1, 2]) {
        const operations: Operation[] = [
          { op: 'insert', table: 'users', fields: { mail: 'new' } },
          { op: 'update', table: 'users', id: kept, fields: { touched: true } },
        ]
        operations.splice(position, 0, at)
        // In its place the update has made version 2 already.
        const isVersioned = 'ifVersion' in at && position === 2
        if (isVersioned) continue
        const rejection = await rejectionOf(store.transact(operations))
        expect(rejection).toMatchObject(failure)
        expect(rejection.detail).toMatchObject({ operation: position })
        expect((await allDocuments(store, 'users')).map(fieldsOf)).toEqual([{ mail: 'kept' }])
      }
    })

    it('of no operations, or of more than 1,000, is refused', async () => {
      const { store } = await makeStore(makeHome)
      const insert: Operation = { op: 'insert', table: 'posts', fields: {} }
      for (const operations of [[], Array<Operation>(1001).fill(insert)]) {
        const failure = await rejectionOf(store.transact(operations))
        expect(failure).toMatchObject({ code: 'invalid_request', path: 'operations' })
      }
      expect(await store.transact(Array<Operation>(1000).fill(insert))).toHaveLength(1000)
    })

    it('of small patches to large documents is refused, since all of them would be in memory at once', async () => {
      const { store } = await makeStore(makeHome)
      const { id } = await store.insert('posts', { text: 'x'.repeat(1_000_000) })
      const patch: Operation = { op: 'update', table: 'posts', id, fields: { touched: true } }
      const failure = await rejectionOf(store.transact(Array<Operation>(1000).fill(patch)))
      expect(failure).toMatchObject({ code: 'invalid_request', path: 'operations', detail: { operation: 8 } })
      expect(await store.get('posts', id)).toMatchObject({ version: 1 })
      expect(
        await store.transact([...Array<Operation>(7).fill(patch), { op: 'delete', table: 'posts', id }]),
      ).toHaveLength(8)
    })

    it('that reads and writes two documents by version keeps their sum, among many', async () => {
      const { store } = await makeStore(makeHome)
      const accounts = await Promise.all([50, 50, 50].map((balance) => store.insert('accounts', { balance })))
      const ids = accounts.map(({ id }) => id)
      let conflicts = 0
      const transfer = async (from: number, to: number): Promise<void> => {
        for (;;) {
          const pair = await Promise.all([store.get('accounts', ids[from] ?? ''), store.get('accounts', ids[to] ?? '')])
          try {
            await store.transact(
              pair.map((document, side) => ({
                op: 'update' as const,
                table: 'accounts',
                id: document.id,
                fields: { balance: Number(fieldsOf(document)['balance']) + (side === 0 ? -1 : 1) } satisfies JsonObject,
                ifVersion: document.version,
              })),
            )
            return
          } catch (error) {
            expect(error).toMatchObject({ code: 'version_conflict' })
            conflicts++
          }
        }
      }
      await Promise.all(Array.from({ length: 30 }, (_, n) => transfer(n % 3, (n + 1 + (n % 2)) % 3)))
      const balances = (await allDocuments(store, 'accounts')).map((document) => Number(fieldsOf(document)['balance']))
      expect(balances.reduce((sum, balance) => sum + balance, 0)).toBe(150)
      expect(conflicts).toBeGreaterThan(0)
      const changes = (await allDocuments(store, 'accounts')).reduce((sum, { version }) => sum + version - 1, 0)
      expect(changes).toBe(60)
    })

    it('of documents in one order does not wait for ever on another that takes them in the other', async () => {
      const { store } = await makeStore(makeHome)
      const [a, b] = await Promise.all([store.insert('posts', {}), store.insert('posts', {})])
      const touch = (ids: string[], n: number) =>
        store.transact(ids.map((id) => ({ op: 'update', table: 'posts', id, fields: { [`f${n}`]: n } })))
      const both = Array.from({ length: 20 }, (_, n) => touch(n % 2 ? [a.id, b.id] : [b.id, a.id], n))
      await Promise.all(both)
      expect(await store.get('posts', a.id)).toMatchObject({ version: 21 })
      expect(await store.get('posts', b.id)).toMatchObject({ version: 21 })
    })
  })
}

/** A table with a schema and one document in it; returns its id. */
async function prepare(store: TenantStore): Promise<string> {
  await store.putSchema('users', {
    fields: { mail: { type: 'string' } },
    indexes: [{ name: 'one', fields: ['mail'], unique: true }],
  })
  return (await store.insert('users', { mail: 'kept' })).id
}
