import { copyFileSync, existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { type RekeyEngine, nativeEngine } from '../../src/encryption/rekey-engine.js'
import { type DekRotation, rotateDek } from '../../src/encryption/rotate-dek.js'
import { rotateKek } from '../../src/encryption/rotate-kek.js'
import { readFileStatus } from '../../src/encryption/status.js'
import { NimbusError } from '../../src/errors.js'
import { type Disk, nativeDisk, readManifest } from '../../src/manifest/file.js'
import { ended, runChild, startChild } from '../support/child.js'
import { tableOf } from '../support/document.js'
import { rejectionOf } from '../support/failure.js'
import { INSTANTS, INSTANTS_MS } from '../support/instants.js'
import { snapshot } from '../support/tree.js'
import { madeKv, openedKv } from './kv-database.js'
import { CONTROL_PLANE, type Place, REDB, namesIn, otherProvider, place } from './setup.js'

const ROTATOR = new URL('./child/dek-rotator.ts', import.meta.url)
const CHILDREN = 2
/** One row for each change of the disk, in order. */
const STEPS = tableOf('5.7', 'stopped after').map(([step = '', , settling = '']) => ({ step, settling }))
const OF_BACKUP = new Set(['second name', 'manifest of the backup', 'backup published', 'its manifest published'])
/** Where there is no backup, what could be left of one is removed. */
const REMOVALS = Array.from({ length: 4 }, () => ({
  step: 'removal of what a backup could have left',
  settling: 'finished',
}))
const WITHOUT_BACKUP = STEPS.filter(({ step }) => !OF_BACKUP.has(step)).flatMap((row) =>
  row.step === 'rename' ? [row, ...REMOVALS] : [row],
)
const SET = ['demo.redb', 'demo.redb.nimbus-enc']
const WITH_BACKUP = ['demo.redb', 'demo.redb.bak', 'demo.redb.bak.nimbus-enc', 'demo.redb.nimbus-enc']

async function home(form = REDB): Promise<Place> {
  const where = await place(form)
  await madeKv(where)
  return where
}

const rotate = ({ file, provider, form }: Place, options: Partial<DekRotation> = {}) =>
  rotateDek(file, form.subject, { provider, skipBackup: false, ...options })

/** Without the locks that whoever opens the file leaves. */
const filesIn = ({ dataDir }: Place): string[] => namesIn(dataDir).filter((name) => !name.endsWith('.nimbus-lock'))

async function copyOf(made: Place): Promise<Place> {
  const where = await place(made.form)
  for (const file of filesIn(made)) copyFileSync(`${made.dataDir}/${file}`, `${where.dataDir}/${file}`)
  return { ...where, keyFile: made.keyFile, provider: made.provider }
}

describe.each([REDB, CONTROL_PLANE])('a rotation of the DEK of $fileName', (form) => {
  it('leaves every row in another file under another key, and the file as it was as a backup', async () => {
    const where = await home(form)
    const old = readFileSync(where.file)
    const before = (await readManifest(`${where.file}.nimbus-enc`))?.manifest
    expect(await rotate(where)).toEqual({ outcome: 'rotated' })
    expect(filesIn(where)).toEqual(['', '.bak', '.bak.nimbus-enc', '.nimbus-enc'].map((end) => form.fileName + end))
    const after = (await readManifest(`${where.file}.nimbus-enc`))?.manifest
    expect(after).toMatchObject({ state: 'active', next: null, current: { generation: 2n } })
    expect(after?.current.fileId).not.toEqual(before?.current.fileId)
    expect(readFileSync(`${where.file}.bak`).equals(old)).toBe(true)
    const blocksOf = (bytes: Buffer) =>
      Array.from({ length: bytes.length / 4096 }, (_, at) => bytes.toString('latin1', at * 4096, at * 4096 + 4096))
    const rotated = new Set(blocksOf(readFileSync(where.file)))
    expect(blocksOf(old).filter((block) => rotated.has(block) && /[^\0]/.test(block))).toEqual([])
    expect(statSync(where.file).mode & 0o777).toBe(0o600)
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 2n })
    expect((await readFileStatus(where.file)).state).toBe('encrypted')
    // The documented way back: file and manifest together.
    renameSync(`${where.file}.bak`, where.file)
    renameSync(`${where.file}.bak.nimbus-enc`, `${where.file}.nimbus-enc`)
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 1n })
  })
})

describe('a rotation of the DEK of a redb file', () => {
  it('leaves no backup when none is wanted, and the one that is there', async () => {
    const where = await home()
    await rotate(where, { skipBackup: true })
    expect(filesIn(where)).toEqual(SET)
    await rotate(where)
    const backup = readFileSync(`${where.file}.bak`)
    await rotate(where, { skipBackup: true })
    expect(readFileSync(`${where.file}.bak`).equals(backup)).toBe(true)
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 4n })
  })

  it('copies the backup where the file system knows no second names', async () => {
    const where = await home()
    const old = readFileSync(where.file)
    await rotate(where, { disk: { ...nativeDisk, linkFileDurably: () => false } })
    expect(readFileSync(`${where.file}.bak`).equals(old)).toBe(true)
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 2n })
  })

  it('stops before the rename at a page that does not authenticate, and changes nothing', async () => {
    const where = await home()
    const bytes = readFileSync(where.file)
    // Every data block but those of the superblock, the ring and the meta blocks: some are in use.
    for (let block = 515; block < Math.min(643, bytes.length / 4096); block++)
      bytes[block * 4096] = (bytes[block * 4096] ?? 0) ^ 1
    writeFileSync(where.file, bytes)
    const before = snapshot(where.dataDir)
    expect(await rejectionOf(rotate(where))).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(filesIn(where)).toEqual(SET)
    expect(snapshot(where.dataDir)['demo.redb']).toEqual(before['demo.redb'])
    expect((await readManifest(`${where.file}.nimbus-enc`))?.manifest).toMatchObject({ state: 'active', next: null })
  })

  it('is undone when it is told to stop in the middle', async () => {
    const where = await home()
    const controller = new AbortController()
    const onProgress = (): void => controller.abort(new NimbusError('internal', 'stop'))
    expect(await rejectionOf(rotate(where, { onProgress, signal: controller.signal }))).toBe(controller.signal.reason)
    expect(filesIn(where)).toEqual(SET)
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 1n })
  })

  it('takes no error of the disk for a wrong key: the rotation stays pending until the disk answers', async () => {
    const where = await home()
    const sealOpens: RekeyEngine['sealOpens'] = () => Promise.reject(new NimbusError('io_error', 'no answer'))
    const error = await rejectionOf(rotate(where, { engine: { ...nativeEngine, sealOpens } }))
    expect(error).toMatchObject({ code: 'io_error' })
    expect(error.remediation).toContain('either settles the file first')
    expect((await readFileStatus(where.file)).state).toBe('rotation_pending')
    expect(await openedKv(where)).toEqual({ end: 'finished', generation: 2n })
  })

  it('with a file in its place that neither key opens stays pending, unless its own backup is there', async () => {
    const where = await home()
    const reseal: RekeyEngine['reseal'] = ({ path }) => {
      writeFileSync(`${path}.other`, Buffer.alloc(200_000, 7))
      renameSync(`${path}.other`, path)
      return Promise.reject(new NimbusError('io_error', 'the disk died'))
    }
    const engine = { ...nativeEngine, reseal }
    expect(await rejectionOf(rotate(where, { engine }))).toMatchObject({ message: 'the disk died' })
    expect(await openedKv(where)).toEqual({ end: undefined, generation: 1n })
    await rotate(where)
    expect(await rejectionOf(rotate(where, { engine, skipBackup: true }))).toMatchObject({ code: 'io_error' })
    expect(await rejectionOf(openedKv(where))).toMatchObject({ code: 'file_corrupt' })
  })

  it.each([1, 2, 3, 4, 5, 6, 7])(
    'reports a full disk at change %i, and leaves the file whole; the retry works',
    async (failsAt) => {
      const where = await home()
      let changes = 0
      const limited = <T>(change: () => T): T => {
        changes += 1
        if (changes === failsAt) throw new NimbusError('disk_full', 'no space left')
        return change()
      }
      const disk: Disk = {
        ...nativeDisk,
        replaceFile: (path, bytes) => limited(() => nativeDisk.replaceFile(path, bytes)),
        linkFileDurably: (from, to) => limited(() => nativeDisk.linkFileDurably(from, to)),
        publishFile: (from, to) => limited(() => nativeDisk.publishFile(from, to)),
      }
      const result = await rotate(where, { disk }).catch((error: unknown) => error)
      if (changes >= failsAt) expect(result).toMatchObject({ code: 'disk_full' })
      await openedKv(where)
      expect(await rotate(where)).toEqual({ outcome: 'rotated' })
      await openedKv(where)
    },
  )

  it('is settled first by a rotation of the KEK', async () => {
    const where = await home()
    await runChild(ROTATOR, [where.keyFile, where.file, '5', 'after', 'rotate'])
    expect((await readFileStatus(where.file)).state).toBe('rotation_pending')
    const to = await otherProvider(where)
    for await (const { outcome } of rotateKek([where.file], { from: where.provider, to, isDryRun: false })) {
      expect(outcome).toBe('rotated')
    }
    expect(await openedKv({ ...where, provider: to })).toEqual({ end: undefined, generation: 2n })
  })
})

/** A rename, a link and a removal have no inside. */
function momentsOf(step: string): readonly ('before' | 'inside' | 'after')[] {
  return /^manifest|^pages/.test(step) ? ['before', 'inside', 'after'] : ['before', 'after']
}

describe('a process killed while it rotates the DEK of a redb file', () => {
  const points = [
    ...STEPS.map((row, at) => ({ ...row, at, what: 'rotate', steps: STEPS })),
    ...WITHOUT_BACKUP.map((row, at) => ({ ...row, at, what: 'rotate-without-backup', steps: WITHOUT_BACKUP })),
  ].flatMap((point) => momentsOf(point.step).map((moment) => ({ ...point, moment })))

  it('at any change leaves what the document says, and the next start settles it so, with every row', async () => {
    const made = await home()
    await mapBounded(points, CHILDREN, async ({ step, at, settling, what, steps, moment }) => {
      const where = await copyOf(made)
      const child = await runChild(ROTATOR, [where.keyFile, where.file, String(at + 1), moment, what])
      const name = `${what}: ${moment} ${step}`
      expect({ name, ...child }).toMatchObject({ stderr: '', signal: 'SIGKILL' })
      const left = moment === 'after' ? settling : (steps[at - 1]?.settling ?? 'nothing to do')
      const end = left === 'nothing to do' ? undefined : left
      const isNew = end === 'finished' || (at === steps.length - 1 && moment === 'after')
      expect({ name, ...(await openedKv(where)) }).toEqual({ name, end, generation: isNew ? 2n : 1n })
      const names = isNew && what === 'rotate' ? WITH_BACKUP : SET
      expect({ name, files: filesIn(where).filter((file) => !file.endsWith('.tmp')) }).toEqual({ name, files: names })
      expect(await rotate(where), name).toEqual({ outcome: 'rotated' })
      expect((await openedKv(where)).generation, name).toBe(isNew ? 3n : 2n)
    })
  }, 240_000)

  it.each([
    [4, 8],
    [5, 4],
  ])(
    'after change %i, and killed again while it is settled, is settled by the start after that',
    async (killAt, most) => {
      const pending = await home()
      await runChild(ROTATOR, [pending.keyFile, pending.file, String(killAt), 'after', 'rotate'])
      const changes = Array.from({ length: most }, (_, at) => at + 1)
      const signals = await mapBounded(changes, CHILDREN, async (at) => {
        const where = await copyOf(pending)
        const child = await runChild(ROTATOR, [where.keyFile, where.file, String(at), 'after', 'settle'])
        expect((await openedKv(where)).generation).toBe(killAt === 4 ? 1n : 2n)
        expect(filesIn(where).filter((file) => /rotating|[0-9a-f]{32}/.test(file))).toEqual([])
        return child.signal
      })
      // Every change was reached, and there is none after the last.
      expect(signals).toEqual([...Array.from({ length: most - 1 }, () => 'SIGKILL'), null])
    },
    120_000,
  )

  it(
    'at any moment leaves one of the two, whole',
    async () => {
      const rows = 3_000
      const made = await place(REDB)
      await madeKv(made, rows)
      const instants = Array.from({ length: INSTANTS }, (_, at) => (at * 160) / INSTANTS)
      const ends = await mapBounded(instants, CHILDREN, async (delayMs) => {
        const where = await copyOf(made)
        const child = startChild(ROTATOR, [where.keyFile, where.file, '0', 'before', 'rotate'])
        child.stdout?.once('data', () => setTimeout(() => child.kill('SIGKILL'), delayMs))
        await ended(child)
        const { generation } = await openedKv(where, rows)
        expect((await readFileStatus(where.file)).state).toBe('encrypted')
        expect(existsSync(`${where.file}.rotating`)).toBe(false)
        return generation
      })
      expect(ends).toHaveLength(INSTANTS)
    },
    INSTANTS_MS,
  )
})
