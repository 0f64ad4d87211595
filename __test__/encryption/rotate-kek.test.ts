import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { checkProtected } from '../../src/encryption/check.js'
import { createProtected, markActive, markDeleting } from '../../src/encryption/protect.js'
import { type KekResult, type KekRotation, rotateKek } from '../../src/encryption/rotate-kek.js'
import { NimbusError } from '../../src/errors.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { type Disk, nativeDisk, readManifest } from '../../src/manifest/file.js'
import { ended, runChild, startChild } from '../support/child.js'
import { rejectionOf } from '../support/failure.js'
import { INSTANTS, INSTANTS_MS } from '../support/instants.js'
import { FORMS, type Place, SQLITE, genuine, madeFile, namesIn, otherProvider, place } from './setup.js'

const ROTATOR = new URL('./child/kek-rotator.ts', import.meta.url)
const CHILDREN = 2
const FILES = 6

async function rotated(paths: readonly string[], rotation: Partial<KekRotation> & Pick<KekRotation, 'from' | 'to'>) {
  const results: KekResult[] = []
  for await (const result of rotateKek(paths, { isDryRun: false, ...rotation })) results.push(result)
  return results
}

async function opens(file: string, { form }: Place, provider: KeyProvider): Promise<boolean> {
  try {
    const checked = await checkProtected(file, form.subject, provider)
    checked?.dek.close()
    return true
  } catch (error) {
    if (error instanceof NimbusError && error.code === 'key_wrong') return false
    throw error
  }
}

/** Copies of one protected file beside it, all of which open under its key. */
async function manyFiles(where: Place, count: number): Promise<string[]> {
  await madeFile(where)
  const copies = Array.from({ length: count }, (_, number) => path.join(where.dataDir, `copy-${number}.sqlite3`))
  for (const copy of copies) {
    copyFileSync(where.file, copy)
    copyFileSync(`${where.file}.nimbus-enc`, `${copy}.nimbus-enc`)
  }
  return copies
}

describe('a rotation of the KEK', () => {
  it.each(FORMS)('wraps the DEK of $fileName under the new key, and leaves everything else', async (form) => {
    const where = await place(form)
    const made = await madeFile(where)
    const to = await otherProvider(where)
    const before = readFileSync(where.file)
    expect(await rotated([where.file], { from: where.provider, to })).toEqual([
      { path: where.file, outcome: 'rotated' },
    ])
    expect(readFileSync(where.file)).toEqual(before)
    expect(namesIn(where.dataDir)).toEqual([form.fileName, `${form.fileName}.nimbus-enc`])
    expect(await opens(where.file, where, where.provider)).toBe(false)
    const opened = await checkProtected(where.file, form.subject, to)
    expect(opened?.dek.commitment(Buffer.alloc(32, 1))).toEqual(made.dek.commitment(Buffer.alloc(32, 1)))
    const { current, ...rest } = opened?.manifest ?? expect.fail('it has a manifest')
    const { current: old, ...unchanged } = made.manifest
    expect(rest).toEqual(unchanged)
    expect(current).toMatchObject({ generation: old.generation, fileId: Buffer.from(old.fileId) })
    expect(Buffer.compare(current.salt, old.salt)).not.toBe(0)
  })

  it('skips what is under the new key, and rotates back', async () => {
    const where = await place()
    await madeFile(where)
    const to = await otherProvider(where)
    await rotated([where.file], { from: where.provider, to })
    const manifest = readFileSync(`${where.file}.nimbus-enc`)
    expect(await rotated([where.file], { from: where.provider, to })).toMatchObject([{ outcome: 'skipped' }])
    expect(readFileSync(`${where.file}.nimbus-enc`)).toEqual(manifest)
    expect(await rotated([where.file], { from: to, to: where.provider })).toMatchObject([{ outcome: 'rotated' }])
    expect(await opens(where.file, where, where.provider)).toBe(true)
  })

  it('keeps the state of a file that is being created or deleted', async () => {
    const where = await place()
    const to = await otherProvider(where)
    const creating = await createProtected(where.file, SQLITE.subject, where.provider, 'sqlcipher-4')
    const stateOf = async () => (await readManifest(`${where.file}.nimbus-enc`))?.manifest.state
    await rotated([where.file], { from: where.provider, to })
    expect(await stateOf()).toBe('creating')
    await markDeleting(await markActive(creating))
    await rotated([where.file], { from: where.provider, to })
    expect(await stateOf()).toBe('deleting')
    expect(await checkProtected(where.file, SQLITE.subject, to)).toBeUndefined()
  })

  it('goes on after files that fail, and leaves those as they were', async () => {
    const where = await place()
    const [missing = '', altered = '', foreign = '', good = ''] = await manyFiles(where, 4)
    const to = await otherProvider(where)
    const stranger = await genuine(await otherProvider(where))
    writeFileSync(`${foreign}.nimbus-enc`, stranger.bytes)
    const text = readFileSync(`${altered}.nimbus-enc`, 'latin1').replace('"active"', '"deleting"')
    writeFileSync(`${altered}.nimbus-enc`, text, 'latin1')
    writeFileSync(path.join(where.dataDir, 'x'), '')
    const paths = [`${missing}.gone`, altered, foreign, good, path.join(where.dataDir, 'x', 'y')]
    const results = await rotated(paths, { from: where.provider, to })
    expect(results.map(({ outcome, error }) => [outcome, error?.code])).toEqual([
      ['failed', 'data_missing'],
      ['failed', 'manifest_altered'],
      ['failed', 'key_wrong'],
      ['rotated', undefined],
      ['failed', 'data_missing'],
    ])
    expect(readFileSync(`${altered}.nimbus-enc`, 'latin1')).toBe(text)
    expect(readFileSync(`${foreign}.nimbus-enc`)).toEqual(stranger.bytes)
  })

  it('writes nothing in a dry run, and says what it would do', async () => {
    const where = await place()
    const [one = '', two = ''] = await manyFiles(where, 2)
    const to = await otherProvider(where)
    await rotated([two], { from: where.provider, to })
    const before = readFileSync(`${one}.nimbus-enc`)
    const results = await rotated([one, two], { from: where.provider, to, isDryRun: true })
    expect(results.map(({ outcome }) => outcome)).toEqual(['checked', 'skipped'])
    expect(readFileSync(`${one}.nimbus-enc`)).toEqual(before)
  })

  it('does not drop the old wrapping for one that does not open, or that opens as another DEK', async () => {
    const where = await place()
    await madeFile(where)
    const to = await otherProvider(where)
    const before = readFileSync(`${where.file}.nimbus-enc`)
    const stranger = await to.newDek({
      subject: SQLITE.subject,
      profile: SQLITE.profile,
      generation: 1n,
      fileId: Buffer.alloc(16),
      salt: Buffer.alloc(32),
    })
    const liars: Partial<KeyProvider>[] = [
      { unwrap: async () => ({ outcome: 'altered' }) },
      { unwrap: async () => ({ outcome: 'other_key', ours: 'x' }) },
      { wrap: async (binding) => to.wrap(binding, stranger.dek) },
    ]
    for (const liar of liars) {
      const provider: KeyProvider = {
        kind: 'another_kind',
        warnings: [],
        describe: () => to.describe(),
        newDek: (binding) => to.newDek(binding),
        wrap: (binding, dek) => to.wrap(binding, dek),
        unwrap: (binding, wrapped, commitment) => to.unwrap(binding, wrapped, commitment),
        close: () => undefined,
        ...liar,
      }
      const [result] = await rotated([where.file], { from: where.provider, to: provider })
      expect(result).toMatchObject({ outcome: 'failed', error: { code: 'key_wrong' } })
      expect(readFileSync(`${where.file}.nimbus-enc`)).toEqual(before)
    }
  })

  it('lets the KEKs rewrap where they are, and falls back to wrapping where that cannot be', async () => {
    for (const outcome of ['rewrapped', 'impossible'] as const) {
      const where = await place()
      const made = await madeFile(where)
      const to = await otherProvider(where)
      const calls: string[] = []
      const provider: KeyProvider = {
        kind: to.kind,
        warnings: [],
        describe: () => to.describe(),
        newDek: (binding) => to.newDek(binding),
        wrap: (binding, dek) => {
          calls.push('wrap')
          return to.wrap(binding, dek)
        },
        unwrap: (binding, wrapped, commitment) => to.unwrap(binding, wrapped, commitment),
        rewrap: async (from, binding) => {
          calls.push('rewrap')
          expect(from.provider).toBe(where.provider)
          expect(from.wrapped.keyId).toBe(made.manifest.current.keyId)
          if (outcome === 'impossible') return { outcome }
          return { outcome, wrapped: await to.wrap(binding, made.dek) }
        },
        close: () => undefined,
      }
      expect(await rotated([where.file], { from: where.provider, to: provider })).toMatchObject([
        { outcome: 'rotated' },
      ])
      expect(calls).toEqual(outcome === 'rewrapped' ? ['rewrap'] : ['rewrap', 'wrap'])
      expect(await opens(where.file, where, to)).toBe(true)
    }
  })

  it('reports a disk that is full for the files that it struck, and the retry works', async () => {
    const where = await place()
    const paths = await manyFiles(where, 3)
    const to = await otherProvider(where)
    const full = new NimbusError('disk_full', 'no space left')
    const disk: Disk = {
      ...nativeDisk,
      replaceFiles: async ([first, second, third]) => {
        if (first === undefined || second === undefined || third === undefined) throw new Error('three files')
        const [done] = await nativeDisk.replaceFiles([second])
        return [full, done, full]
      },
    }
    const results = await rotated(paths, { from: where.provider, to, disk })
    expect(results.map(({ outcome }) => outcome)).toEqual(['failed', 'rotated', 'failed'])
    expect(results[0]?.error).toBe(full)
    const again = await rotated(paths, { from: where.provider, to })
    expect(again.map(({ outcome }) => outcome)).toEqual(['rotated', 'skipped', 'rotated'])
  })

  it('counts every file of a batch as failed when the writing itself fails', async () => {
    const where = await place()
    const paths = await manyFiles(where, 2)
    const disk: Disk = { ...nativeDisk, replaceFiles: () => Promise.reject(new NimbusError('io_error', 'no answer')) }
    const to = await otherProvider(where)
    const results = await rotated(paths, { from: where.provider, to, disk })
    expect(results.map(({ outcome, error }) => [outcome, error?.code])).toEqual([
      ['failed', 'io_error'],
      ['failed', 'io_error'],
    ])
    expect(await opens(paths[0] ?? '', where, where.provider)).toBe(true)
  })

  it('stops between batches when it is told to', async () => {
    const where = await place()
    const [one = ''] = await manyFiles(where, 1)
    const aborted = AbortSignal.abort(new NimbusError('internal', 'stop'))
    const rotation = { from: where.provider, to: await otherProvider(where), signal: aborted }
    expect(await rejectionOf(rotated([one], rotation))).toBe(aborted.reason)
  })
})

describe('a process killed while it rotates the KEK of many files', () => {
  it.each(['before', 'inside', 'after'] as const)(
    '%s a batch leaves each manifest whole, and finishes when run again',
    async (moment) => {
      const where = await place()
      const paths = await manyFiles(where, FILES)
      const to = await otherProvider(where)
      const newKey = keyFileOf(to)
      const child = await runChild(ROTATOR, [where.keyFile, newKey, '1', moment, ...paths])
      expect(child.stderr).toBe('')
      expect(child.signal).toBe('SIGKILL')
      const isNew = await Promise.all(paths.map((file) => opens(file, where, to)))
      const isOld = await Promise.all(paths.map((file) => opens(file, where, where.provider)))
      expect(isNew.map((value, at) => value !== isOld[at])).toEqual(paths.map(() => true))
      expect(isNew.filter(Boolean).length).toBe({ before: 0, inside: FILES / 2, after: FILES }[moment])
      const again = await runChild(ROTATOR, [where.keyFile, newKey, '0', moment, ...paths])
      expect(again).toMatchObject({ status: 0, stderr: '' })
      expect(again.stdout.split('\n').filter((line) => line === 'skipped').length).toBe(isNew.filter(Boolean).length)
      for (const file of paths) expect(await opens(file, where, to)).toBe(true)
      expect(namesIn(where.dataDir).filter((name) => name.endsWith('.tmp'))).toEqual([])
    },
  )

  it(
    'at any moment does the same',
    async () => {
      const delays = Array.from({ length: INSTANTS }, (_, at) => (at * 60) / INSTANTS)
      const counts = await mapBounded(delays, CHILDREN, async (delayMs) => {
        const where = await place()
        const paths = await manyFiles(where, 50)
        const to = await otherProvider(where)
        const child = startChild(ROTATOR, [where.keyFile, keyFileOf(to), '0', 'before', ...paths])
        child.stdout?.once('data', () => setTimeout(() => child.kill('SIGKILL'), delayMs))
        await ended(child)
        const isNew = await Promise.all(paths.map((file) => opens(file, where, to)))
        const results = await rotated(paths, { from: where.provider, to })
        expect(results.map(({ outcome }) => outcome)).toEqual(isNew.map((value) => (value ? 'skipped' : 'rotated')))
        return isNew.filter(Boolean).length
      })
      expect(counts.length).toBe(INSTANTS)
    },
    INSTANTS_MS,
  )
})

function keyFileOf(provider: KeyProvider): string {
  const descriptor = provider.describe()
  return 'path' in descriptor ? descriptor.path : expect.fail('it is a file')
}
