/** What is indexed is not scanned: the plans that SQLite makes for the statements that queries become. */
import { describe, expect, it, onTestFinished } from 'vitest'
import { SqliteStore } from '../../src/native.js'
import { type Selection, checkSelection } from '../../src/tenants/query.js'
import type { TableSchemaInput } from '../../src/tenants/schema.js'
import type { Position } from '../../src/tenants/sort-key.js'
import { compile } from '../../src/tenants/sqlite/compile.js'
import { SqliteTenant } from '../../src/tenants/sqlite/tenant.js'
import { makeSqliteHome } from './file-home.js'

const SCHEMA: TableSchemaInput = {
  indexes: [
    { name: 'by_state', fields: ['state', 'n'] },
    { name: 'by_n', fields: ['n'] },
    { name: 'by_city', fields: ['address.city'] },
    { name: 'by_mail', fields: ['mail'], unique: true },
  ],
}

/** The tenant's file once more, after the provider has let go of it. */
async function openTenant(): Promise<SqliteTenant> {
  const home = await makeSqliteHome('plain')
  const provider = await home.open()
  await provider.create('demo')
  const documents = await provider.open('demo')
  await documents.putSchema('posts', SCHEMA)
  await documents.insert('posts', { state: 'open', n: 1 })
  await provider.close()
  const path = home.fileOf('demo')
  const store = SqliteStore.open({ path, mode: 'open', exclusive: true })
  onTestFinished(() => store.close())
  return SqliteTenant.load(store, path)
}

async function plansOf(tenant: SqliteTenant, selection: Selection, after?: Position): Promise<string[]> {
  const table = tenant.catalog.find(selection.table)
  if (table === undefined) return expect.fail('the table was not made')
  const { sql, params } = compile(table, checkSelection(selection, table.schema), after, 10)
  const rows = await tenant.store.query(`EXPLAIN QUERY PLAN ${sql}`, [...params])
  return rows.map((row) => String(row[3])).filter((step) => /docs_|TEMP B-TREE/.test(step))
}

const id = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'
const after = { id, key: { kind: 'number', value: 5 } } as const
const atString = { id, key: { kind: 'string', value: 'x' } } as const
const byNumber = { field: 'n', direction: 'asc' } as const
const backwards = { field: 'n', direction: 'desc' } as const

type Case = [string, Omit<Selection, 'table'>, Position | undefined, string[]]

const CASES: Case[] = [
  ['equality with a string', { filters: [{ field: 'mail', op: 'eq', value: 'a' }] }, undefined, ['index_3 (key_3=?)']],
  ['equality with a number', { filters: [{ field: 'n', op: 'eq', value: 1 }] }, undefined, ['index_1 (key_1=?)']],
  ['equality with true', { filters: [{ field: 'n', op: 'eq', value: true }] }, undefined, ['index_1 (key_1=?)']],
  ['equality with null', { filters: [{ field: 'n', op: 'eq', value: null }] }, undefined, ['index_1 (key_1=?)']],
  ['a nested field', { filters: [{ field: 'address.city', op: 'eq', value: 'x' }] }, undefined, ['index_2 (key_2=?)']],
  [
    'a range of numbers',
    { filters: [{ field: 'n', op: 'gt', value: 1 }], order: byNumber },
    undefined,
    ['index_1 (key_1>? AND key_1<?)'],
  ],
  [
    'a range of numbers downwards',
    { filters: [{ field: 'n', op: 'lte', value: 1 }], order: backwards },
    undefined,
    ['index_1 (key_1<?)'],
  ],
  [
    'a range of strings',
    { filters: [{ field: 'mail', op: 'lt', value: 'b' }], order: { field: 'mail' } },
    undefined,
    ['index_3 (key_3>? AND key_3<?)'],
  ],
  [
    'a range within an equality',
    {
      filters: [
        { field: 'state', op: 'eq', value: 'open' },
        { field: 'n', op: 'gte', value: 1 },
      ],
      order: byNumber,
    },
    undefined,
    ['index_0 (key_0=? AND key_1>? AND key_1<?)'],
  ],
  [
    'an equality in the order of the next field',
    { filters: [{ field: 'state', op: 'eq', value: 'open' }], order: backwards },
    undefined,
    ['index_0 (key_0=?)'],
  ],
  ['an order alone', { order: byNumber }, undefined, ['SCAN docs_1 USING INDEX docs_1_index_1']],
  ['an order backwards', { order: backwards }, undefined, ['SCAN docs_1 USING INDEX docs_1_index_1']],
  ['an order by a unique field', { order: { field: 'mail' } }, undefined, ['SCAN docs_1 USING INDEX docs_1_index_3']],
  ['the next page of an order', { order: byNumber }, after, ['index_1 (key_1=? AND rowid>?)', 'index_1 (key_1>?)']],
  [
    'the next page of an order backwards',
    { order: backwards },
    after,
    ['index_1 (key_1=? AND rowid<?)', 'index_1 (key_1<?)'],
  ],
  [
    'the next page of an order by strings',
    { order: { field: 'mail' } },
    atString,
    ['index_3 (key_3=? AND rowid>?)', 'index_3 (key_3>?)'],
  ],
  [
    'the next page of an order within an equality',
    { filters: [{ field: 'state', op: 'eq', value: 'open' }], order: byNumber },
    after,
    ['index_0 (key_0=? AND key_1=? AND rowid>?)', 'index_0 (key_0=? AND key_1>?)'],
  ],
  [
    'the next page by id within an equality',
    { filters: [{ field: 'mail', op: 'eq', value: 'a' }] },
    { id, key: undefined },
    ['index_3 (key_3=? AND rowid>?)'],
  ],
  ['the next page by id', {}, { id, key: undefined }, ['INTEGER PRIMARY KEY (rowid>?)']],
  [
    'the next page by id backwards',
    { order: { direction: 'desc' } },
    { id, key: undefined },
    ['PRIMARY KEY (rowid<?)'],
  ],
]

describe('a query', () => {
  it.each(CASES)('with %s goes through the index, in its order', async (_, selection, position, expected) => {
    const plans = await plansOf(await openTenant(), { table: 'posts', ...selection }, position)
    expect(plans).toHaveLength(expected.length)
    for (const [part, plan] of plans.entries()) {
      expect(plan).toContain(expected[part])
      expect(plan).not.toContain('TEMP B-TREE')
      expect(plan).toMatch(/^(SEARCH|SCAN docs_1 USING INDEX)/)
    }
  })

  it('on a field without an index is seen to scan, so that these plans prove something', async () => {
    const tenant = await openTenant()
    const selection: Selection = {
      table: 'posts',
      filters: [{ field: 'free', op: 'eq', value: 1 }],
      order: { field: 'other' },
    }
    expect(await plansOf(tenant, selection)).toEqual(['SCAN docs_1', 'USE TEMP B-TREE FOR ORDER BY'])
  })
})
