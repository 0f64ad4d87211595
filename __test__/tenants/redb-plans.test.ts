/** What is indexed is not scanned: how many entries and documents queries read. */
import { describe, expect, it, onTestFinished } from 'vitest'
import type { KvSnapshot, KvStore } from '../../src/native.js'
import type { StoredDocument } from '../../src/tenants/contract.js'
import { type Filter, type Order, checkSelection } from '../../src/tenants/query.js'
import { Catalog } from '../../src/tenants/redb/catalog.js'
import { MOST_COUNTED, readSelection } from '../../src/tenants/redb/reads.js'
import { Source } from '../../src/tenants/redb/source.js'
import type { TableSchemaInput } from '../../src/tenants/schema.js'
import type { Position } from '../../src/tenants/sort-key.js'
import { fieldsOf } from './contract/home.js'
import { makeRedbHome } from './file-home.js'
import { openTenantStore } from './redb-checker.js'

const DOCUMENTS = 12_000
const SCHEMA: TableSchemaInput = {
  indexes: [
    { name: 'by_state', fields: ['state', 'n'] },
    { name: 'by_n', fields: ['n'] },
    { name: 'by_mail', fields: ['mail'], unique: true },
    { name: 'by_most', fields: ['most'] },
  ],
}

interface Reads {
  documents: number
  entries: number
}

type Read = (
  filters: Filter[],
  order: Order,
  limit: number,
  after?: Position,
) => Promise<Reads & { found: StoredDocument[] }>

async function open(): Promise<{ read: Read; made: StoredDocument[] }> {
  const home = await makeRedbHome('plain')
  const provider = await home.open()
  await provider.create('demo')
  const documents = await provider.open('demo')
  await documents.putSchema('posts', SCHEMA)
  const all: StoredDocument[] = []
  for (let n = 0; n < DOCUMENTS; n += 1000) {
    const inserts = Array.from({ length: 1000 }, (_, i) => ({
      op: 'insert' as const,
      table: 'posts',
      fields: { n: (n + i) * 2, state: `s${(n + i) % 100}`, mail: `m${n + i}`, most: (n + i) % 50 > 0, free: n + i },
    }))
    for (const result of await documents.transact(inserts)) if (result.op === 'insert') all.push(result.document)
  }
  await provider.close()
  const store = await openTenantStore(home, 'demo')
  const path = home.fileOf('demo')
  onTestFinished(() => store.close())
  return { read: reader(store, await Catalog.load(store, store.snapshot(), path), path), made: all }
}

function reader(store: KvStore, catalog: Catalog, path: string): Read {
  return async (filters, order, limit, after) => {
    const table = catalog.find('posts') ?? expect.fail('the table was not made')
    const reads: Reads = { documents: 0, entries: 0 }
    const snapshot = store.snapshot()
    const source = new Source(counting(snapshot, reads), table, path)
    const prepared = { checked: checkSelection({ table: 'posts', filters, order }, table.schema), after }
    const { documents: found } = await readSelection(source, prepared, limit)
    snapshot.close()
    return { ...reads, found }
  }
}

function counting(snapshot: KvSnapshot, reads: Reads): Pick<KvSnapshot, 'get' | 'rangeAsync'> {
  return {
    get(table, key) {
      reads.documents += 1
      return snapshot.get(table, key)
    },
    async rangeAsync(table, range) {
      const answer = await snapshot.rangeAsync(table, range)
      reads[table.startsWith('docs/') ? 'documents' : 'entries'] += answer.pairs.length
      return answer
    },
  }
}

const eq = (field: string, value: Filter['value']): Filter => ({ field, op: 'eq', value })
const numbers = (documents: readonly StoredDocument[]) => documents.map((document) => fieldsOf(document)['n'])
type After = (made: readonly StoredDocument[]) => Position
const afterId =
  (n: number): After =>
  (made) => ({ id: made[n]?.id ?? '', key: undefined })
const afterNumber =
  (n: number): After =>
  (made) => ({ id: made[n]?.id ?? '', key: { kind: 'number', value: n * 2 } })

/** Filters, order, limit, position; the fields `n` of the answer; the most documents and entries that may be read. */
type Case = [string, Filter[], Order, number, After | undefined, number[], Reads]

const CASES: Case[] = [
  ['a unique value', [eq('mail', 'm77')], {}, 100, undefined, [154], { documents: 1, entries: 1 }],
  ['a value of an index', [eq('n', 20)], {}, 100, undefined, [20], { documents: 1, entries: 1 }],
  ['a value that is not there', [eq('n', true)], {}, 100, undefined, [], { documents: 0, entries: 0 }],
  [
    'the first field of an index, in the order of the second',
    [eq('state', 's7')],
    { field: 'n', direction: 'desc' },
    2,
    undefined,
    [23814, 23614],
    { documents: 2, entries: 32 },
  ],
  [
    'a range, in its order',
    [{ field: 'n', op: 'gt', value: 100 }],
    { field: 'n' },
    3,
    undefined,
    [102, 104, 106],
    { documents: 3, entries: 32 },
  ],
  [
    'a range between two values, in the order of ids',
    [
      { field: 'n', op: 'gte', value: 100 },
      { field: 'n', op: 'lt', value: 106 },
    ],
    { direction: 'desc' },
    10,
    undefined,
    [104, 102, 100],
    { documents: 3, entries: 3 },
  ],
  [
    'a range within a value, in another order',
    [eq('state', 's0'), { field: 'n', op: 'lte', value: 400 }],
    { field: 'free', direction: 'desc' },
    10,
    undefined,
    [400, 200, 0],
    { documents: 3, entries: 3 },
  ],
  ['an order alone', [], { field: 'n' }, 3, undefined, [0, 2, 4], { documents: 3, entries: 32 }],
  [
    'the next page of an order',
    [],
    { field: 'n' },
    2,
    afterNumber(5000),
    [10002, 10004],
    { documents: 2, entries: 32 },
  ],
  [
    'the next page of an order backwards',
    [],
    { field: 'n', direction: 'desc' },
    2,
    afterNumber(5000),
    [9998, 9996],
    { documents: 2, entries: 32 },
  ],
  [
    'the next page of ids within a value',
    [eq('state', 's3')],
    {},
    2,
    afterId(6003),
    [12206, 12406],
    { documents: 2, entries: 120 },
  ],
  ['the next page of ids', [], {}, 2, afterId(6000), [12002, 12004], { documents: 10, entries: 0 }],
  [
    'an order by a field that is fixed',
    [eq('mail', 'm5')],
    { field: 'mail', direction: 'desc' },
    5,
    undefined,
    [10],
    { documents: 1, entries: 1 },
  ],
]

describe('a query on redb', () => {
  it('reads no more than it has to', async () => {
    const { read, made } = await open()
    for (const [name, filters, order, limit, after, expected, most] of CASES) {
      const { found, documents, entries } = await read(filters, order, limit, after?.(made))
      expect(numbers(found), name).toEqual(expected)
      expect(documents, name).toBeLessThanOrEqual(most.documents)
      expect(entries, name).toBeLessThanOrEqual(most.entries)
    }

    // An index that would leave most of the documents is given up for the order of ids.
    const most = await read([eq('most', true)], {}, 3)
    expect(numbers(most.found)).toEqual([2, 4, 6])
    expect(most.documents).toBeLessThan(500)
    expect(most.entries).toBeLessThan(MOST_COUNTED + 2048)

    // What has no index is scanned, so that these counts prove something.
    const scan = await read([eq('free', 5)], { field: 'other' }, 10)
    expect(numbers(scan.found)).toEqual([10])
    expect(scan.documents).toBe(DOCUMENTS)
  }, 60_000)
})
