/** One contract, two engines: whatever is done to both, each answer of one is that of the other. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import type {
  DocumentPage,
  Operation,
  OperationResult,
  StoredDocument,
  TenantStore,
} from '../../src/tenants/contract.js'
import type { JsonObject } from '../../src/tenants/json.js'
import type { Filter, Order } from '../../src/tenants/query.js'
import type { TableSchemaInput } from '../../src/tenants/schema.js'
import { fieldsArbitrary, filterArbitrary, orderArbitrary } from './contract/model.js'
import { makeRedbHome, makeSqliteHome } from './file-home.js'

/** A document is named by its place among all that were ever inserted: the engines give them different ids. */
type Step =
  | { readonly do: 'insert'; readonly fields: JsonObject }
  | { readonly do: 'patch'; readonly at: number; readonly fields: JsonObject; readonly ifVersion?: number | undefined }
  | { readonly do: 'delete'; readonly at: number; readonly ifVersion?: number | undefined }
  | { readonly do: 'get'; readonly at: number }
  | { readonly do: 'transact'; readonly steps: readonly (Step & { readonly do: 'insert' | 'patch' | 'delete' })[] }
  | { readonly do: 'putSchema'; readonly schema: TableSchemaInput }
  | { readonly do: 'getSchema' | 'deleteSchema' }
  | { readonly do: 'query'; readonly filters: Filter[]; readonly order: Order; readonly limit: number }
  | { readonly do: 'walk'; readonly filters: Filter[]; readonly order: Order; readonly limit: number }

const TABLE = 'posts'
const NEVER_MADE = '01890a5d-ac96-774b-bcce-b302099a8057'

class Side {
  readonly #store: TenantStore
  readonly #ids: string[] = []

  constructor(store: TenantStore) {
    this.#store = store
  }

  /** What the step came to, without anything that may differ: ids and times. */
  async run(step: Step): Promise<unknown> {
    try {
      return await this.#run(step)
    } catch (error) {
      if (!(error instanceof NimbusError)) throw error
      // A transaction names one of its failures, and each engine may come upon another first.
      if (step.do === 'transact') return 'failed'
      const { code, path, detail } = error
      const { id, ...rest } = detail
      return { code, path, ...rest, ...(typeof id === 'string' ? { document: this.#ids.indexOf(id) } : {}) }
    }
  }

  async #run(step: Step): Promise<unknown> {
    const store = this.#store
    switch (step.do) {
      case 'insert':
        return this.#view(await store.insert(TABLE, step.fields))
      case 'patch':
        return this.#view(await store.patch(TABLE, this.#idOf(step.at), step.fields, step.ifVersion))
      case 'delete':
        return store.delete(TABLE, this.#idOf(step.at), step.ifVersion)
      case 'get':
        return this.#view(await store.get(TABLE, this.#idOf(step.at)))
      case 'transact':
        return (await store.transact(step.steps.map((each) => this.#operation(each)))).map((result) =>
          this.#result(result),
        )
      case 'putSchema':
        return store.putSchema(TABLE, step.schema)
      case 'getSchema':
        return store.getSchema(TABLE)
      case 'deleteSchema':
        return store.deleteSchema(TABLE)
      case 'query':
        return (await store.query({ table: TABLE, ...step })).map((document) => this.#view(document))
      case 'walk':
        return this.#walk(step)
    }
  }

  async #walk({ filters, order, limit }: Step & { readonly do: 'walk' }): Promise<unknown[]> {
    const pages: unknown[] = []
    let page: DocumentPage = { documents: [], nextCursor: null }
    do {
      const after = page.nextCursor ?? undefined
      page = await this.#store.queryPage({ table: TABLE, filters, order }, { limit, after })
      pages.push(page.documents.map((document) => this.#view(document)))
    } while (page.nextCursor !== null)
    return pages
  }

  #operation(step: Step & { readonly do: 'insert' | 'patch' | 'delete' }): Operation {
    if (step.do === 'insert') return { op: 'insert', table: TABLE, fields: step.fields }
    const named = { table: TABLE, id: this.#idOf(step.at), ifVersion: step.ifVersion }
    return step.do === 'patch' ? { op: 'update', ...named, fields: step.fields } : { op: 'delete', ...named }
  }

  #result(result: OperationResult): unknown {
    return result.op === 'delete' ? [result.op, this.#ids.indexOf(result.id)] : [result.op, this.#view(result.document)]
  }

  #view({ id, version, fieldsJson, table }: StoredDocument): unknown {
    if (!this.#ids.includes(id)) this.#ids.push(id)
    return { document: this.#ids.indexOf(id), version, fieldsJson, table }
  }

  #idOf(at: number): string {
    return this.#ids[at % (this.#ids.length + 1)] ?? NEVER_MADE
  }
}

const ifVersion = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined, freq: 4 })
const insert = fc.record({ do: fc.constant('insert' as const), fields: fieldsArbitrary })
const patch = fc.record({ do: fc.constant('patch' as const), at: fc.nat(40), fields: fieldsArbitrary, ifVersion })
const remove = fc.record({ do: fc.constant('delete' as const), at: fc.nat(40), ifVersion })
const changes = fc.oneof(
  { weight: 5, arbitrary: insert },
  { weight: 3, arbitrary: patch },
  { weight: 1, arbitrary: remove },
)
const paths = fc.uniqueArray(fc.constantFrom('a', 'b', 'c.d', 'größe'), { minLength: 1, maxLength: 3 })
const schema: fc.Arbitrary<TableSchemaInput> = fc.record({
  fields: fc.dictionary(
    fc.constantFrom('a', 'b'),
    fc.record({ type: fc.constantFrom('json', 'string', 'number'), required: fc.boolean() }),
    { maxKeys: 1, noNullPrototype: true },
  ),
  indexes: fc.uniqueArray(
    fc.record({ name: fc.constantFrom('one', 'two', 'three'), fields: paths, unique: fc.boolean() }),
    { selector: ({ name }) => name, maxLength: 3 },
  ),
})
const selection = {
  filters: fc.array(filterArbitrary, { maxLength: 3 }),
  order: orderArbitrary,
}
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: changes },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('transact' as const),
      steps: fc.array(changes, { minLength: 1, maxLength: 8 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('putSchema' as const), schema }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('getSchema' as const, 'deleteSchema' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('get' as const), at: fc.nat(40) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('query' as const), ...selection, limit: fc.integer({ min: 1, max: 20 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('walk' as const), ...selection, limit: fc.integer({ min: 1, max: 9 }) }),
  },
)

describe('the redb provider', () => {
  it('answers everything as the SQLite provider does, errors too', async () => {
    const [sqlite, redb] = await Promise.all([makeSqliteHome('plain'), makeRedbHome('encrypted')])
    const providers = await Promise.all([sqlite.open(), redb.open()])
    let tenants = 0
    let steps = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 30, size: 'max' }), async (script) => {
        const tenant = `t${tenants++}`
        const sides: Side[] = []
        for (const provider of providers) {
          await provider.create(tenant)
          sides.push(new Side(await provider.open(tenant)))
        }
        for (const each of script) {
          const [expected, found] = await Promise.all(sides.map((side) => side.run(each)))
          expect(found).toEqual(expected)
          steps += 1
        }
      }),
      { numRuns: Number(process.env['NIMBUS_DIFFERENTIAL_RUNS'] ?? 25) },
    )
    expect(steps).toBeGreaterThan(250)
  }, 600_000)
})
