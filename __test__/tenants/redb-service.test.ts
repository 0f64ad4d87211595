/** Tenants on redb that are being served: damage kept to what it touches, builds kept from being seen, many tenants restarted. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { describe, expect, it } from 'vitest'
import type { StoredDocument, TenantStore } from '../../src/tenants/contract.js'
import { rejectionOf } from '../support/failure.js'
import { allDocuments, fieldsOf } from './contract/home.js'
import { type FileHome, MODES, makeRedbHome } from './file-home.js'
import { checkIndexes, openTenantStore } from './redb-checker.js'

const SCHEMA = {
  indexes: [
    { name: 'by_n', fields: ['n'], unique: true },
    { name: 'by_text', fields: ['text', 'n'] },
  ],
}

async function makeTenant(home: FileHome, documents: number, textBytes: number): Promise<StoredDocument[]> {
  const provider = await home.open()
  await provider.create('demo')
  const store = await provider.open('demo')
  await store.putSchema('posts', SCHEMA)
  const made: StoredDocument[] = []
  for (let n = 0; n < documents; n += 100) {
    const inserts = Array.from({ length: Math.min(100, documents - n) }, (_, i) => {
      const fields = { n: n + i, text: String((n + i) % 10), filler: 'x'.repeat(textBytes) }
      return { op: 'insert', table: 'posts', fields } as const
    })
    for (const result of await store.transact(inserts)) if (result.op === 'insert') made.push(result.document)
  }
  await provider.close()
  return made
}

describe.each(MODES)('a tenant on redb, %s,', (mode) => {
  it('is whole after restarts with many others, each opened when it is used', async () => {
    const home = await makeRedbHome(mode)
    const ids = Array.from({ length: 30 }, (_, n) => `t${n}`)
    const first = await home.open({ maxOpenTenants: 8 })
    await Promise.all(
      ids.map(async (id) => {
        await first.create(id)
        const store = await first.open(id)
        await store.putSchema('posts', SCHEMA)
        await Promise.all(Array.from({ length: 10 }, (_, n) => store.insert('posts', { n, text: id })))
      }),
    )
    await first.close()
    const names = readdirSync(home.directory).filter((name) => !name.endsWith('.nimbus-lock'))
    const perTenant = mode === 'plain' ? ['.redb'] : ['.redb', '.redb.nimbus-enc']
    expect(names.sort()).toEqual(ids.flatMap((id) => perTenant.map((suffix) => id + suffix)).sort())
    const second = await home.open({ maxOpenTenants: 8 })
    expect(second.stats()).toMatchObject({ tenants: 30, openTenants: 0 })
    for (const id of ids) {
      const documents = await allDocuments(await second.open(id), 'posts')
      expect(documents.map((document) => fieldsOf(document)['text'])).toEqual(Array(10).fill(id))
      expect(second.stats().openTenants).toBeLessThanOrEqual(8)
    }
    expect(await second.files()).toHaveLength(30)
    await second.close()
    for (const id of ids.slice(0, 3)) expect(await checkIndexes(home, id)).toBe(20)
  })

  it('has its indexes checked by a checker that finds an entry too few, too many or of another document', async () => {
    const home = await makeRedbHome(mode)
    await makeTenant(home, 20, 10)
    expect(await checkIndexes(home, 'demo')).toBe(40)
    const changes = async (change: (entry: Uint8Array) => Uint8Array, value: Uint8Array | null) => {
      const store = await openTenantStore(home, 'demo')
      const snapshot = store.snapshot()
      const [entry] = snapshot.range('index/2', { limit: 1, mostBytes: 1 }).pairs[0] ?? expect.fail('no entry')
      snapshot.close()
      const key = change(Buffer.from(entry))
      await store.write([{ table: 'index/2', key, value }])
      await expect(store.close().then(() => checkIndexes(home, 'demo'))).rejects.toThrow('posts.by_text')
      const undo = await openTenantStore(home, 'demo')
      await undo.write([{ table: 'index/2', key, value: value === null ? new Uint8Array(0) : null }])
      await undo.close()
    }
    await changes((entry) => entry, null)
    await changes((entry) => Buffer.concat([entry, Buffer.from([1])]), new Uint8Array(0))
    expect(await checkIndexes(home, 'demo')).toBe(40)
  })

  it('loses what an interrupted change of a schema left when it is opened', async () => {
    const home = await makeRedbHome(mode)
    await makeTenant(home, 20, 10)
    const store = await openTenantStore(home, 'demo')
    await store.write([{ table: 'index/7', key: Buffer.from('half'), value: new Uint8Array(0) }])
    await store.close()
    await expect(checkIndexes(home, 'demo')).rejects.toThrow('index/7')
    const provider = await home.open()
    await allDocuments(await provider.open('demo'), 'posts')
    await provider.close()
    expect(await checkIndexes(home, 'demo')).toBe(40)
  })

  it('of a later layout, or of no layout, is refused when it is first used', async () => {
    const home = await makeRedbHome(mode)
    await makeTenant(home, 1, 10)
    const cases = [
      ['{"layout":2,"created_at":1}', 'unsupported_for_provider'],
      ['{}', 'file_corrupt'],
      ['no JSON', 'file_corrupt'],
    ] as const
    for (const [value, code] of cases) {
      const store = await openTenantStore(home, 'demo')
      await store.write([{ table: 'nimbus', key: Buffer.from('tenant'), value: Buffer.from(value) }])
      await store.close()
      const provider = await home.open()
      const documents = await provider.open('demo')
      expect(await rejectionOf(documents.list('posts', {}))).toMatchObject({ code, path: home.fileOf('demo') })
      await provider.close()
    }
  })

  it('answers file_corrupt for what nimbus did not store, and nothing else', async () => {
    const home = await makeRedbHome(mode)
    const made = await makeTenant(home, 3, 10)
    const store = await openTenantStore(home, 'demo')
    const snapshot = store.snapshot()
    const { pairs } = snapshot.range('docs/1', { limit: 3, mostBytes: 1_048_576 })
    const [key, record] = pairs[1] ?? expect.fail('no document')
    const damaged = Buffer.concat([record.subarray(0, 27), Buffer.from('{"n":}')])
    await store.write([{ table: 'docs/1', key: Buffer.from(key), value: damaged }])
    snapshot.close()
    await store.close()
    const provider = await home.open()
    const documents = await provider.open('demo')
    const corrupt = { code: 'file_corrupt' }
    expect(await documents.get('posts', made[0]?.id ?? '')).toEqual(made[0])
    expect(await rejectionOf(documents.patch('posts', made[1]?.id ?? '', {}))).toMatchObject(corrupt)
    const filters = [{ field: 'free', op: 'eq', value: 1 }] as const
    expect(await rejectionOf(documents.query({ table: 'posts', filters }))).toMatchObject(corrupt)
    expect(await documents.patch('posts', made[2]?.id ?? '', { n: 9 })).toMatchObject({ version: 2 })
  })

  it('keeps a large table from holding up the event loop, whether it is scanned, sorted or indexed', async () => {
    const home = await makeRedbHome(mode)
    await makeTenant(home, 20_000, 200)
    const provider = await home.open()
    const store = await provider.open('demo')
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const [scanned, sorted] = await Promise.all([
      store.query({ table: 'posts', filters: [{ field: 'filler', op: 'eq', value: 'none' }] }),
      store.query({ table: 'posts', order: { field: 'filler' }, limit: 5 }),
      store.putSchema('posts', { indexes: [...SCHEMA.indexes, { name: 'by_filler', fields: ['filler', 'n'] }] }),
    ])
    delay.disable()
    expect(scanned).toEqual([])
    expect(sorted.map((document) => fieldsOf(document)['n'])).toEqual([0, 1, 2, 3, 4])
    // 10 ms on a quiet machine; tests beside this one have the processors too.
    expect(delay.percentile(90) / 1e6).toBeLessThan(30)
    await provider.close()
    expect(await checkIndexes(home, 'demo')).toBe(60_000)
  }, 60_000)
})

describe('a damaged page of a sealed tenant', () => {
  it('fails what touches it, each time and by name, and nothing else', async () => {
    const home = await makeRedbHome('encrypted')
    // Each fills more than a page, so that a page of values belongs to one document or a few.
    const made = await makeTenant(home, 60, 9000)
    const file = home.fileOf('demo')
    const damagedByPage: number[][] = []
    const sound = readFileSync(file)
    // Before them lie the superblock and the ring.
    const pages = sound.length / 4096 - 514
    for (const place of [0.35, 0.5, 0.65]) {
      const at = 4096 * (514 + Math.floor(pages * place)) + 2000
      const damaged = Buffer.from(sound)
      damaged[at] = damaged.readUInt8(at) ^ 1
      writeFileSync(file, damaged)
      damagedByPage.push(await checkDamaged(home, made))
    }
    writeFileSync(file, sound)
    expect(Math.max(...damagedByPage.map((damaged) => damaged.length))).toBeGreaterThan(0)
    const provider = await home.open()
    expect(await allDocuments(await provider.open('demo'), 'posts')).toEqual(made)
  }, 60_000)
})

async function checkDamaged(home: FileHome, made: readonly StoredDocument[]): Promise<number[]> {
  const provider = await home.open()
  const store = await provider.open('demo')
  const readAll = async () => {
    const outcomes = await Promise.allSettled(made.map(async ({ id }) => store.get('posts', id)))
    return outcomes.flatMap((outcome, n) => {
      if (outcome.status === 'fulfilled') expect(outcome.value).toEqual(made[n])
      else expect(outcome.reason).toMatchObject({ code: 'file_corrupt', path: home.fileOf('demo') })
      return outcome.status === 'rejected' ? [n] : []
    })
  }
  const damaged = await readAll()
  for (let round = 0; round < 3; round++) expect(await readAll()).toEqual(damaged)
  if (damaged.length > 0 && damaged.length < made.length) await checkOthers(store, made, damaged)
  await provider.close()
  return damaged
}

/** Reads and writes of the others succeed beside those that meet the damage. */
async function checkOthers(
  store: TenantStore,
  made: readonly StoredDocument[],
  damaged: readonly number[],
): Promise<void> {
  const isNear = (n: number) => damaged.some((bad) => Math.abs(bad - n) < 10)
  const outcomes = await Promise.allSettled(made.map(async ({ id }) => store.get('posts', id)))
  outcomes.forEach((outcome, n) => expect(outcome.status === 'fulfilled').toBe(!damaged.includes(n)))
  const patches = await Promise.allSettled(made.map(({ id }, n) => store.patch('posts', id, { filler: `${n}` })))
  for (const [n, patch] of patches.entries()) {
    if (!isNear(n)) expect(patch.status, `patch ${n}`).toBe('fulfilled')
    if (damaged.includes(n)) expect(patch.status).toBe('rejected')
  }
}
