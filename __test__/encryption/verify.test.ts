import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { openProtected } from '../../src/encryption/protect.js'
import { reportOf } from '../../src/encryption/verify-report.js'
import { type VerifyResult, verifyFiles } from '../../src/encryption/verify.js'
import { sqlcipherProfile } from '../../src/keys/profile.js'
import { SqliteStore } from '../../src/native.js'
import { runChild } from '../support/child.js'
import { snapshot } from '../support/tree.js'
import { madeDatabase } from './database.js'
import { madeKv } from './kv-database.js'
import { DEMO, type Place, REDB, otherProvider, place } from './setup.js'

const ROTATOR = new URL('./child/dek-rotator.ts', import.meta.url)
const PAGE = 4096
/** Blocks of a redb file before the first meta block: the superblock twice, and the ring. */
const dataStart = 514

async function verify({ file, form, provider }: Place): Promise<VerifyResult> {
  for await (const result of verifyFiles([{ path: file, expected: form.subject }], { provider })) return result
  return expect.fail('no result')
}

async function sqlite(): Promise<Place> {
  const where = await place()
  await madeDatabase(where)
  return where
}

async function redb(): Promise<Place> {
  const where = await place(REDB)
  await madeKv(where)
  return where
}

function flip(file: string, at: number): void {
  const bytes = readFileSync(file)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(file, bytes)
}

/** A file whose last rows are in the log only, as a killed process leaves it. */
async function withLog(): Promise<Place> {
  const where = await sqlite()
  const { dek, fileId, profile } = await openProtected(where.file, DEMO, where.provider)
  const encryption = { dek, fileId, profile: sqlcipherProfile(profile) }
  const store = SqliteStore.open({ path: where.file, mode: 'open', exclusive: false, encryption })
  await store.write([{ sql: "UPDATE rows SET text = 'in the log' WHERE id < 50" }])
  const saved = ['', '-wal'].map((suffix) => {
    const copy = `${where.directory}/saved${suffix}`
    copyFileSync(where.file + suffix, copy)
    return { copy, path: where.file + suffix }
  })
  await store.close()
  dek.close()
  for (const { copy, path } of saved) copyFileSync(copy, path)
  return where
}

describe('the verification of a SQLite file', () => {
  it('finds a whole file sound, and changes nothing', async () => {
    for (const where of [await sqlite(), await withLog()]) {
      const before = snapshot(where.dataDir)
      const result = await verify(where)
      expect(result).toMatchObject({ outcome: 'sound', findings: { damaged: [], unreferenced: [] } })
      expect(snapshot(where.dataDir)).toEqual(before)
    }
  })

  it('finds a flipped bit in any page, free ones too, and names that page', async () => {
    const where = await sqlite()
    const whole = readFileSync(where.file)
    for (let page = 1; page <= whole.length / PAGE; page += 13) {
      writeFileSync(where.file, whole)
      flip(where.file, (page - 1) * PAGE + 16 + ((page * 97) % (PAGE - 16)))
      const result = await verify(where)
      expect(result).toMatchObject({ outcome: 'damaged', findings: { damaged: [page], pages: whole.length / PAGE } })
    }
  })

  it('finds pages that are missing, exchanged or zeroed', async () => {
    const where = await sqlite()
    const whole = readFileSync(where.file)
    const pages = whole.length / PAGE
    truncateSync(where.file, (pages - 2) * PAGE)
    expect(await verify(where)).toMatchObject({ outcome: 'damaged', findings: { damaged: [pages - 1, pages] } })
    const exchanged = Buffer.from(whole)
    whole.copy(exchanged, 9 * PAGE, 19 * PAGE, 20 * PAGE)
    exchanged.fill(0, 29 * PAGE, 30 * PAGE)
    writeFileSync(where.file, exchanged)
    expect(await verify(where)).toMatchObject({ findings: { damaged: [10, 30] } })
  })

  it('reads the log too: a frame that was altered is damage, a page that the log replaces is not', async () => {
    const where = await withLog()
    const result = await verify(where)
    if (result.outcome !== 'sound') return expect.fail(result.outcome)
    expect(result.findings.logPages).toBeGreaterThan(0)
    const log = readFileSync(`${where.file}-wal`)
    const inLog = log.readUInt32BE(32)
    flip(where.file, (inLog - 1) * PAGE + 100)
    expect(await verify(where)).toMatchObject({ outcome: 'sound' })
    rmSync(`${where.file}-wal`)
    expect(await verify(where)).toMatchObject({ outcome: 'damaged', findings: { damaged: [inLog] } })
  })
})

describe('the verification of a redb file', () => {
  it('finds a whole file sound, and changes nothing', async () => {
    const where = await redb()
    const before = snapshot(where.dataDir)
    expect(await verify(where)).toMatchObject({ outcome: 'sound', findings: { damaged: [], unreferenced: [] } })
    expect(snapshot(where.dataDir)).toEqual(before)
  })

  it('tells a damaged page that is in use from one that nothing misses, and changes nothing', async () => {
    const where = await redb()
    const whole = readFileSync(where.file)
    const seen = { damaged: 0, unreferenced: 0 }
    for (let block = dataStart + 1; block < whole.length / PAGE; block += 3) {
      const isMeta = (block - dataStart) % 129 === 0
      if (isMeta || !/[^\0]/.test(whole.toString('latin1', block * PAGE, block * PAGE + PAGE))) continue
      const page = Math.floor((block - dataStart) / 129) * 128 + ((block - dataStart) % 129) - 1
      writeFileSync(where.file, whole)
      flip(where.file, block * PAGE + 2000)
      const before = snapshot(where.dataDir)
      const result = await verify(where)
      if (result.outcome === 'failed' || result.outcome === 'empty') return expect.fail(result.outcome)
      const kind = result.outcome === 'damaged' ? 'damaged' : 'unreferenced'
      expect(result.findings[kind]).toEqual([page])
      expect(snapshot(where.dataDir)).toEqual(before)
      seen[kind] += 1
    }
    expect(seen.damaged).toBeGreaterThan(0)
    expect(seen.unreferenced).toBeGreaterThan(0)
  })

  it('finds a damaged ring or both superblocks', async () => {
    const where = await redb()
    const bytes = readFileSync(where.file)
    bytes.fill(0, 2 * PAGE, dataStart * PAGE)
    writeFileSync(where.file, bytes)
    expect(await verify(where)).toMatchObject({ outcome: 'failed', error: { code: 'file_corrupt' } })
  })
})

describe('a verification', () => {
  it("fails for a file whose rotation is pending, whose manifest is missing or another's, or whose key is another", async () => {
    const where = await sqlite()
    expect(await verify({ ...where, provider: await otherProvider(where) })).toMatchObject({
      error: { code: 'key_wrong' },
    })
    expect(
      await verify({ ...where, form: { ...where.form, subject: { family: 'sqlite_tenant', tenant: 'x' } } }),
    ).toMatchObject({
      error: { code: 'manifest_mismatch' },
    })
    await runChild(ROTATOR, [where.keyFile, where.file, '5', 'after', 'rotate'])
    expect(await verify(where)).toMatchObject({ outcome: 'failed', error: { code: 'file_busy' } })
    rmSync(`${where.file}.nimbus-enc`)
    expect(await verify(where)).toMatchObject({ outcome: 'failed', error: { code: 'manifest_missing' } })
    rmSync(where.file)
    expect(await verify(where)).toMatchObject({ outcome: 'failed', error: { code: 'data_missing' } })
  })

  it('lists a thousand pages at most, and counts all', () => {
    const damaged = Array.from({ length: 5_000 }, (_, at) => at)
    const findings = { pages: 9_000, logPages: 0, damaged, unreferenced: [1] }
    const report = reportOf({ path: 'x', outcome: 'damaged', findings })
    expect(report).toMatchObject({ damaged_page_count: 5_000, unreferenced_pages: [1], unreferenced_page_count: 1 })
    expect(report.damaged_pages).toEqual(damaged.slice(0, 1_000))
  })
})
