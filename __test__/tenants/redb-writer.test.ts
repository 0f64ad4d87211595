/** The writer of a redb tenant when a commit fails: nobody is told of what did not happen, and nothing of it is left. */
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import type { KvStore } from '../../src/native.js'
import type { Operation, OperationResult } from '../../src/tenants/contract.js'
import { TenantSpentError } from '../../src/tenants/open-tenant.js'
import { RedbTenant } from '../../src/tenants/redb/tenant.js'
import { makeRedbHome } from './file-home.js'
import { checkIndexes, openTenantStore } from './redb-checker.js'

const INDEX = { indexes: [{ name: 'one', fields: ['n'], unique: true }] }

async function openTenant() {
  const home = await makeRedbHome('encrypted')
  const provider = await home.open()
  await provider.create('demo')
  await (await provider.open('demo')).putSchema('posts', INDEX)
  await provider.close()
  const open = async () => {
    const store = await openTenantStore(home, 'demo')
    onTestFinished(() => store.close())
    return { store, tenant: await RedbTenant.load(store, home.fileOf('demo')) }
  }
  return { home, open, ...(await open()) }
}

const insert = (n: number): Operation[] => [{ op: 'insert', table: 'posts', fields: { n } }]
const write = (tenant: RedbTenant, operations: Operation[]) => tenant.write(operations, (error) => error)
const outcomeOf = async (writing: Promise<OperationResult[]>): Promise<unknown> =>
  writing.then(
    () => 'written',
    (error: unknown) => error,
  )
const numbersIn = async (tenant: RedbTenant): Promise<unknown[]> => {
  const checked = { filters: [], orderBy: undefined, descending: false, shape: null }
  const { answer } = await tenant.select('posts', () => ({ checked, after: undefined }), 100)
  return answer.documents.map(({ fieldsJson }) => (JSON.parse(fieldsJson) as { n: unknown }).n)
}

/** Holds commits back until it is told what becomes of the next one. */
function holdCommits(store: KvStore): (failure: NimbusError | undefined) => void {
  const real = store.write.bind(store)
  const waiting: ((failure: NimbusError | undefined) => void)[] = []
  vi.spyOn(store, 'write').mockImplementation(async (...args) => {
    const failure = await new Promise<NimbusError | undefined>((resolve) => waiting.push(resolve))
    if (failure !== undefined) throw failure
    return real(...args)
  })
  return (failure) => (waiting.shift() ?? expect.fail('no commit is under way'))(failure)
}

describe('a writer', () => {
  it('commits what comes during a commit with the next one, each request succeeding or failing alone', async () => {
    const { tenant, store } = await openTenant()
    const settle = holdCommits(store)
    const first = [write(tenant, insert(0)), write(tenant, insert(0))].map(outcomeOf)
    await vi.waitFor(() => expect(store.write).toHaveBeenCalledTimes(1))
    const second = [write(tenant, insert(0)), write(tenant, insert(1)), write(tenant, insert(2))].map(outcomeOf)
    expect(await numbersIn(tenant)).toEqual([])
    expect(tenant.stats).toMatchObject({ commits: 0, queued: 5 })
    settle(undefined)
    expect(await Promise.all(first)).toEqual(['written', expect.objectContaining({ code: 'unique_violation' })])
    await vi.waitFor(() => expect(store.write).toHaveBeenCalledTimes(2))
    expect(await numbersIn(tenant)).toEqual([0])
    settle(undefined)
    const outcomes = await Promise.all(second)
    expect(outcomes).toEqual([expect.objectContaining({ code: 'unique_violation' }), 'written', 'written'])
    expect(await numbersIn(tenant)).toEqual([0, 1, 2])
    expect(tenant.stats).toMatchObject({ commits: 2, requests: 5, queued: 0, queuedBytes: 0 })
    expect(tenant.isSpent).toBe(false)
  })

  it.each(['io_error', 'disk_full'] as const)(
    'after %s answers the batch with it, and sends the others away',
    async (code) => {
      const { home, open, tenant, store } = await openTenant()
      const settle = holdCommits(store)
      // The second is refused for what the first would have done, and did not.
      const batch = [write(tenant, insert(0)), write(tenant, insert(0))].map(outcomeOf)
      await vi.waitFor(() => expect(store.write).toHaveBeenCalledTimes(1))
      const late = [write(tenant, insert(0)), write(tenant, insert(1))].map(outcomeOf)
      settle(new NimbusError(code, 'it was the disk'))
      for (const outcome of await Promise.all(batch)) expect(outcome).toMatchObject({ code })
      for (const outcome of await Promise.all(late)) expect(outcome).toBeInstanceOf(TenantSpentError)
      expect(tenant.isSpent).toBe(true)
      expect(await outcomeOf(write(tenant, insert(2)))).toBeInstanceOf(TenantSpentError)
      expect(store.write).toHaveBeenCalledTimes(1)
      expect(tenant.stats).toMatchObject({ queued: 0, queuedBytes: 0 })
      await store.close()
      const again = await open()
      expect(await numbersIn(again.tenant)).toEqual([])
      expect(await outcomeOf(write(again.tenant, insert(0)))).toBe('written')
      await again.store.close()
      expect(await checkIndexes(home, 'demo')).toBe(1)
    },
  )

  it('that fails to build an index leaves the schema as it was', async () => {
    const { home, tenant, store } = await openTenant()
    for (let n = 0; n < 3; n++) await write(tenant, insert(n))
    const failure = new NimbusError('io_error', 'it was the disk')
    vi.spyOn(store, 'write').mockRejectedValue(failure)
    const schema = { fields: {}, indexes: [...INDEX.indexes, { name: 'two', fields: ['m'], unique: false }] }
    await expect(tenant.putSchema('posts', schema)).rejects.toBe(failure)
    expect(tenant.isSpent).toBe(true)
    vi.restoreAllMocks()
    await store.close()
    expect(await checkIndexes(home, 'demo')).toBe(3)
  })
})
