/** Tenants that are being served: open ones bounded, idle ones closed, damage kept to what it touches, locks kept. */
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { StoredDocument, TenantStore } from '../../src/tenants/contract.js'
import { runChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { allDocuments, fieldsOf } from './contract/home.js'
import { MODES, makeSqliteHome } from './file-home.js'

const SECOND_OPENER = new URL('./child/second-opener.ts', import.meta.url)

describe('many tenants', () => {
  it('are served by a few open ones, whoever asks in whatever order', async () => {
    const home = await makeSqliteHome('encrypted')
    const provider = await home.open({ maxOpenTenants: 4 })
    const ids = Array.from({ length: 12 }, (_, n) => `t${n}`)
    for (const id of ids) await provider.create(id)
    const inserts = Array.from({ length: 240 }, async (_, n) => {
      const store = await provider.open(ids[(n * 5) % 12] ?? '')
      const { id } = await store.insert('posts', { n })
      expect(fieldsOf(await store.get('posts', id))).toEqual({ n })
      expect(provider.stats().openTenants).toBeLessThanOrEqual(4)
    })
    await Promise.all(inserts)
    const counts = await Promise.all(
      ids.map(async (id) => (await allDocuments(await provider.open(id), 'posts')).length),
    )
    expect(counts).toEqual(Array(12).fill(20))
    expect(provider.stats().requests).toBeGreaterThanOrEqual(240)
  })

  it('that are idle hold no file open', async () => {
    const home = await makeSqliteHome('encrypted')
    const provider = await home.open({ idleMs: 100 })
    for (const id of ['a', 'b']) {
      await provider.create(id)
      await (await provider.open(id)).insert('posts', {})
    }
    expect(openFilesIn(home.directory)).not.toEqual([])
    while (provider.stats().openTenants > 0) await delay(10)
    expect(openFilesIn(home.directory)).toEqual([])
    expect(readdirSync(home.directory).filter((name) => name.endsWith('-wal'))).toEqual([])
    const store = await provider.open('a')
    expect(await allDocuments(store, 'posts')).toHaveLength(1)
  })
})

describe.each(MODES)('a served file, %s', (mode) => {
  it('stays locked against other processes while it is asked about', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    await store.insert('posts', {})
    const keyFile = mode === 'plain' ? '' : home.keyFile
    const before = await runChild(SECOND_OPENER, [home.directory, keyFile])
    expect(before).toMatchObject({ status: 0, stdout: 'file_busy' })
    const files = await provider.files()
    expect(files).toMatchObject([{ state: mode === 'plain' ? 'plaintext' : 'encrypted' }])
    await provider.list({})
    provider.stats()
    const after = await runChild(SECOND_OPENER, [home.directory, keyFile])
    expect(after).toMatchObject({ status: 0, stdout: 'file_busy' })
    await provider.close()
    const closed = await runChild(SECOND_OPENER, [home.directory, keyFile])
    expect(closed).toMatchObject({ status: 0, stdout: 'opened' })
  })

  it('is walked by id while others insert: nothing that is acknowledged is passed over', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    for (let n = 0; n < 20; n++) await store.insert('posts', { n })
    let isWalking = true
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      for (let n = 0; n < 300 && isWalking; n++) await store.insert('posts', { writer, n })
    })
    const seen: StoredDocument[] = []
    for (let after: string | undefined; ;) {
      const page = await store.list('posts', { limit: 7, after })
      seen.push(...page.documents)
      if (page.nextCursor === null || seen.length > 500) break
      after = page.nextCursor
    }
    isWalking = false
    await Promise.all(writers)
    const all = await allDocuments(store, 'posts')
    expect(seen.map(({ id }) => id)).toEqual(all.slice(0, seen.length).map(({ id }) => id))
  })

  it('that was written while the clock was ahead gets greater ids still, once the clock is right', async () => {
    const home = await makeSqliteHome(mode)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2099, 0, 1) })
    onTestFinished(() => void vi.useRealTimers())
    const ahead = await home.open()
    await ahead.create('demo')
    const early = await (await ahead.open('demo')).insert('posts', {})
    await ahead.close()
    vi.useRealTimers()
    const provider = await home.open()
    const store = await provider.open('demo')
    const late = [await store.insert('posts', {}), await store.insert('posts', {})]
    const ids = [early, ...late].map(({ id }) => id)
    expect(ids).toEqual(ids.toSorted())
    expect((await allDocuments(store, 'posts')).map(({ id }) => id)).toEqual(ids)
    expect(late[0]?.createdAt).toBeLessThan(early.createdAt)
    expect(await store.patch('posts', early.id, {})).toMatchObject({ updatedAt: early.updatedAt })
  })

  it('answers queries while its schema changes back and forth', async () => {
    const home = await makeSqliteHome(mode)
    const provider = await home.open()
    await provider.create('demo')
    const store = await provider.open('demo')
    await store.transact(
      Array.from({ length: 500 }, (_, n) => ({ op: 'insert', table: 'posts', fields: { n, m: -n } })),
    )
    let isChanging = true
    const readers = Array.from({ length: 4 }, async () => {
      let reads = 0
      for (; isChanging; reads++) {
        const filters = [{ field: 'n', op: 'lt', value: 200 }] as const
        const found = await store.query({ table: 'posts', filters, order: { field: 'm' }, limit: 1000 })
        expect(found).toHaveLength(200)
        expect(fieldsOf(found[0] ?? expect.fail('nothing'))).toEqual({ n: 199, m: -199 })
      }
      return reads
    })
    for (let round = 0; round < 15; round++) {
      await store.putSchema('posts', {
        indexes: [
          { name: 'a', fields: ['n'] },
          { name: 'b', fields: ['m', 'n'] },
        ],
      })
      await store.putSchema('posts', { indexes: [{ name: 'b', fields: ['m'] }] })
      await store.deleteSchema('posts')
    }
    isChanging = false
    for (const reads of await Promise.all(readers)) expect(reads).toBeGreaterThan(1)
  })
})

describe('a damaged page', () => {
  it('fails what touches it, each time and by name, and nothing else', async () => {
    const home = await makeSqliteHome('encrypted')
    const first = await home.open()
    await first.create('demo')
    const writer = await first.open('demo')
    const documents: StoredDocument[] = []
    // Each fills more than a page, so that one page belongs to one document.
    for (let n = 0; n < 40; n++) documents.push(await writer.insert('posts', { n, text: String(n % 10).repeat(9000) }))
    await first.close()
    const file = home.fileOf('demo')
    const pages = readFileSync(file).length / 4096
    flipBit(file, 4096 * Math.floor(pages / 2) + 2000)

    const provider = await home.open()
    const store = await provider.open('demo')
    const corrupt = { code: 'file_corrupt', path: file }
    const readAll = async () => {
      const outcomes = await Promise.allSettled(documents.map(async ({ id }) => store.get('posts', id)))
      return outcomes.flatMap((outcome, n) => {
        if (outcome.status === 'fulfilled') expect(outcome.value).toEqual(documents[n])
        else expect(outcome.reason).toMatchObject(corrupt)
        return outcome.status === 'rejected' ? [n] : []
      })
    }
    const damaged = await readAll()
    // One, if the page holds the rest of a document; the few whose beginnings it holds, if it is a leaf of the tree.
    expect(damaged.length).toBeGreaterThan(0)
    expect(damaged.length).toBeLessThan(10)
    for (let round = 0; round < 3; round++) expect(await readAll()).toEqual(damaged)
    expect(await rejectionOf(allDocuments(store, 'posts'))).toMatchObject(corrupt)
    const reads = Array.from({ length: 80 }, (_, n) => (n % 2 ? (n * 3) % 40 : (damaged[n % damaged.length] ?? 0)))
    const outcomes = await Promise.all(reads.map((n) => attempt(store, documents[n])))
    expect(outcomes).toEqual(reads.map((n) => (damaged.includes(n) ? 'file_corrupt' : 'read')))
    const added = await store.insert('posts', { n: 'after' })
    expect(await store.get('posts', added.id)).toEqual(added)
    const patches = documents.map(async ({ id }, n) => {
      await store.patch('posts', id, { touched: n })
      return n
    })
    const patched = (await Promise.allSettled(patches)).flatMap((outcome) =>
      'value' in outcome ? [outcome.value] : [],
    )
    // A change may move documents between a page and its neighbours, so those beside the damage may fail as well.
    const isNear = (n: number) => damaged.some((bad) => Math.abs(bad - n) < 10)
    expect(patched).toEqual(expect.arrayContaining(documents.map((_, n) => n).filter((n) => !isNear(n))))
    expect(patched.filter((n) => damaged.includes(n))).toEqual([])
  })
})

/** A read that lets others run before and beside it. */
async function attempt(store: TenantStore, document: StoredDocument | undefined): Promise<string> {
  if (document === undefined) return 'no such document'
  try {
    const { documents } = await store.queryPage({ table: 'posts', filters: [] }, { limit: 1 })
    if (documents.length !== 1) return 'nothing'
    expect(await store.get('posts', document.id)).toEqual(document)
    return 'read'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

function flipBit(file: string, at: number): void {
  const byte = readFileSync(file)[at] ?? 0
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, Buffer.from([byte ^ 1]), 0, 1, at)
  closeSync(descriptor)
}

/** The files of a directory that this process has open (proc(5), `/proc/[pid]/fd`). */
function openFilesIn(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`)
      return path.dirname(target) === directory ? [path.basename(target)] : []
    } catch {
      return []
    }
  })
}
