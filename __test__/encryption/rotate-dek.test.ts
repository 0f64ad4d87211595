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
import { madeDatabase, opened } from './database.js'
import { DEMO, type Place, namesIn, otherProvider, place } from './setup.js'

const ROTATOR = new URL('./child/dek-rotator.ts', import.meta.url)
const CHILDREN = 2
const MOMENTS = ['before', 'inside', 'after'] as const
/** One row for each change of the disk, in order. */
const STEPS = tableOf('5.6', 'stopped after').map(([step = '', , settling = '']) => ({ step, settling }))
const OF_BACKUP = new Set(['copy of the file', 'manifest of the backup', 'backup published', 'its manifest published'])
/** Where there is no backup, what could be left of one is removed. */
const REMOVALS = Array.from({ length: 4 }, () => ({
  step: 'removal of what a backup could have left',
  settling: 'finished',
}))
const WITHOUT_BACKUP = STEPS.filter(({ step }) => !OF_BACKUP.has(step)).flatMap((row) =>
  row.step === 'pages' ? [row, ...REMOVALS] : [row],
)
const SET = ['demo.sqlite3', 'demo.sqlite3.nimbus-enc']
const BACKUP = ['demo.sqlite3.bak', 'demo.sqlite3.bak.nimbus-enc']

async function home(): Promise<Place> {
  const where = await place()
  await madeDatabase(where)
  return where
}

const rotate = ({ file, provider }: Place, options: Partial<DekRotation> = {}) =>
  rotateDek(file, DEMO, { provider, skipBackup: false, ...options })

async function fileStates({ file }: Place): Promise<string[]> {
  const files = existsSync(`${file}.bak`) ? [file, `${file}.bak`] : [file]
  return Promise.all(files.map(async (path) => (await readFileStatus(path)).state))
}

describe('a rotation of the DEK', () => {
  it('leaves every row, under another key, and the file as it was as a backup', async () => {
    const where = await home()
    const old = readFileSync(where.file)
    const before = (await readManifest(`${where.file}.nimbus-enc`))?.manifest
    expect(await rotate(where)).toEqual({ outcome: 'rotated' })
    expect(namesIn(where.dataDir)).toEqual([...SET.slice(0, 1), ...BACKUP, ...SET.slice(1)])
    const after = (await readManifest(`${where.file}.nimbus-enc`))?.manifest
    expect(after).toMatchObject({ state: 'active', next: null, current: { generation: 2n } })
    expect(after?.rotatedAt).toMatch(/Z$/)
    // SQLCipher's salt stays, and with it the file id.
    expect(after?.current.fileId).toEqual(before?.current.fileId)
    const pagesOf = (bytes: Buffer) =>
      Array.from({ length: bytes.length / 4096 }, (_, at) => bytes.toString('latin1', at * 4096 + 16, at * 4096 + 4096))
    const rotated = pagesOf(readFileSync(where.file))
    expect(pagesOf(old).filter((page, at) => page === rotated[at])).toEqual([])
    expect(await opened(where)).toEqual({ end: undefined, generation: 2n })
    expect(statSync(`${where.file}.bak`).mode & 0o777).toBe(0o600)
    expect(await fileStates(where)).toEqual(['encrypted', 'encrypted'])
  })

  it('leaves no backup when none is wanted, and the one that is there', async () => {
    const where = await home()
    await rotate(where, { skipBackup: true })
    expect(namesIn(where.dataDir)).toEqual(SET)
    await rotate(where)
    const backup = readFileSync(`${where.file}.bak`)
    await rotate(where, { skipBackup: true })
    expect(readFileSync(`${where.file}.bak`)).toEqual(backup)
    expect(await opened(where)).toEqual({ end: undefined, generation: 4n })
  })

  it('replaces the backup before with a newer one, and either opens when put back', async () => {
    const where = await home()
    await rotate(where)
    const first = readFileSync(`${where.file}.bak.nimbus-enc`)
    await rotate(where)
    expect(readFileSync(`${where.file}.bak.nimbus-enc`)).not.toEqual(first)
    // The documented way back: file and manifest together.
    renameSync(`${where.file}.bak`, where.file)
    renameSync(`${where.file}.bak.nimbus-enc`, `${where.file}.nimbus-enc`)
    expect(await opened(where)).toEqual({ end: undefined, generation: 2n })
  })

  it('says how far it is', async () => {
    const where = await place()
    await madeDatabase(where, 3000)
    const phases = new Set<string>()
    const onProgress: DekRotation['onProgress'] = (path, { phase, doneBytes, totalBytes }) => {
      expect(path).toBe(where.file)
      expect(doneBytes).toBeLessThanOrEqual(totalBytes)
      phases.add(phase)
    }
    await rotate(where, { onProgress })
    expect([...phases].sort()).toEqual(['checking', 'copying', 'rekeying'])
  })

  it('is undone when it is told to stop in the middle', async () => {
    const where = await place()
    await madeDatabase(where, 3000)
    const controller = new AbortController()
    const onProgress: DekRotation['onProgress'] = (_, { phase }) => {
      if (phase === 'rekeying') controller.abort(new NimbusError('internal', 'stop'))
    }
    expect(await rejectionOf(rotate(where, { onProgress, signal: controller.signal }))).toBe(controller.signal.reason)
    expect(namesIn(where.dataDir)).toEqual(SET)
    expect(await opened(where, 3000)).toEqual({ end: undefined, generation: 1n })
  })

  it('refuses a file with a bad page before anything is written', async () => {
    const where = await home()
    const bytes = readFileSync(where.file)
    bytes[200 * 4096 + 100] = (bytes[200 * 4096 + 100] ?? 0) ^ 1
    writeFileSync(where.file, bytes)
    const before = snapshot(where.dataDir)
    expect(await rejectionOf(rotate(where))).toMatchObject({ code: 'file_corrupt' })
    expect((await readManifest(`${where.file}.nimbus-enc`))?.manifest.state).toBe('active')
    expect(Object.keys(snapshot(where.dataDir))).toEqual(Object.keys(before))
  })

  it('takes the rows of a write-ahead log along', async () => {
    const where = await home()
    const { dek, fileId } = await import('../../src/encryption/protect.js').then(({ openProtected }) =>
      openProtected(where.file, DEMO, where.provider),
    )
    const { SqliteStore } = await import('../../src/native.js')
    const open = () =>
      SqliteStore.open({
        path: where.file,
        mode: 'open',
        exclusive: false,
        encryption: { dek, fileId, profile: 'sqlcipher-4-sha256' },
      })
    const store = open()
    await store.write([{ sql: "INSERT INTO rows VALUES (7777, 'in the log', NULL)" }])
    copyFileSync(where.file, `${where.directory}/db`)
    copyFileSync(`${where.file}-wal`, `${where.directory}/wal`)
    await store.close()
    copyFileSync(`${where.directory}/db`, where.file)
    copyFileSync(`${where.directory}/wal`, `${where.file}-wal`)
    await rotate(where)
    expect(existsSync(`${where.file}-wal`)).toBe(false)
    const { openProtected } = await import('../../src/encryption/protect.js')
    const after = await openProtected(where.file, DEMO, where.provider)
    const reopened = SqliteStore.open({
      path: where.file,
      mode: 'open',
      exclusive: true,
      encryption: { dek: after.dek, fileId, profile: 'sqlcipher-4-sha256' },
    })
    expect(reopened.get('SELECT text FROM rows WHERE id = 7777', [])).toEqual(['in the log'])
    await reopened.close()
  })

  it('believes neither a success nor a failure of SQLCipher: the file tells', async () => {
    const where = await home()
    const liesOfSuccess: RekeyEngine = { ...nativeEngine, rekey: async () => undefined }
    expect(await rejectionOf(rotate(where, { engine: liesOfSuccess }))).toMatchObject({ code: 'io_error' })
    expect(await opened(where)).toEqual({ end: undefined, generation: 1n })
    const liesOfFailure: RekeyEngine = {
      ...nativeEngine,
      rekey: async (file, next) => {
        await nativeEngine.rekey(file, next)
        throw new NimbusError('io_error', 'it did not work')
      },
    }
    expect(await rotate(where, { engine: liesOfFailure })).toEqual({ outcome: 'rotated' })
    expect(await opened(where)).toEqual({ end: undefined, generation: 2n })
  })

  it('puts its own backup back when no key opens the file, and never an older one', async () => {
    const where = await home()
    const destroys: RekeyEngine = {
      ...nativeEngine,
      rekey: async ({ path }) => {
        writeFileSync(path, Buffer.alloc(statSync(path).size, 7))
        throw new NimbusError('io_error', 'the disk died')
      },
    }
    expect(await rejectionOf(rotate(where, { engine: destroys }))).toMatchObject({ message: 'the disk died' })
    expect(namesIn(where.dataDir)).toEqual(SET)
    expect(await opened(where)).toEqual({ end: undefined, generation: 1n })
    await rotate(where)
    const stale = snapshot(where.dataDir)
    const error = await rejectionOf(rotate(where, { engine: destroys, skipBackup: true }))
    expect(error).toMatchObject({ message: expect.stringContaining('the change of the key') as string })
    const now = snapshot(where.dataDir)
    expect(now['demo.sqlite3.bak']).toBe(stale['demo.sqlite3.bak'])
    // It is pending, and a start says so instead of guessing.
    expect(await rejectionOf(opened(where))).toMatchObject({ code: 'file_corrupt' })
    expect(await fileStates(where)).toEqual(['unreadable', 'encrypted'])
  })

  it('takes no error of the disk for a wrong key: the rotation stays pending until the disk answers', async () => {
    const where = await home()
    const fails: RekeyEngine = {
      ...nativeEngine,
      keyOpens: async (file, journaled, options) => {
        if ((await readManifest(`${where.file}.nimbus-enc`))?.manifest.state === 'rotating') {
          throw new NimbusError('io_error', 'the disk does not answer')
        }
        return nativeEngine.keyOpens(file, journaled, options)
      },
    }
    const error = await rejectionOf(rotate(where, { engine: fails }))
    expect(error.remediation).toContain('either settles the file first')
    expect(await fileStates(where)).toEqual(['rotation_pending'])
    expect(await opened(where)).toEqual({ end: 'finished', generation: 2n })
  })

  it.each([2, 4, 8])(
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
        copyFileDurably: (from, to) => limited(() => nativeDisk.copyFileDurably(from, to)),
        publishFile: (from, to) => limited(() => nativeDisk.publishFile(from, to)),
        removeFileDurably: (path) => limited(() => nativeDisk.removeFileDurably(path)),
      }
      const result = await rotate(where, { disk }).catch((error: unknown) => error)
      if (changes >= failsAt) expect(result).toMatchObject({ code: 'disk_full' })
      await opened(where)
      expect(await rotate(where)).toEqual({ outcome: 'rotated' })
      await opened(where)
    },
  )

  it('is settled first by a rotation of the KEK', async () => {
    const where = await home()
    await runChild(ROTATOR, [where.keyFile, where.file, '5', 'after', 'rotate'])
    expect(await fileStates(where)).toEqual(['rotation_pending'])
    const to = await otherProvider(where)
    for await (const { outcome } of rotateKek([where.file], { from: where.provider, to, isDryRun: false })) {
      expect(outcome).toBe('rotated')
    }
    expect(await opened({ ...where, provider: to })).toEqual({ end: undefined, generation: 2n })
  })
})

describe('a process killed while it rotates the DEK', () => {
  const points = [
    ...STEPS.map((row, at) => ({ ...row, at, what: 'rotate', steps: STEPS })),
    ...WITHOUT_BACKUP.map((row, at) => ({ ...row, at, what: 'rotate-without-backup', steps: WITHOUT_BACKUP })),
  ].flatMap((point) => MOMENTS.map((moment) => ({ ...point, moment })))

  it('at any change leaves what the document says, and the next start settles it so, with every row', async () => {
    const made = await home()
    await mapBounded(points, CHILDREN, async ({ step, at, settling, what, steps, moment }) => {
      const where = await copyOf(made)
      const child = await runChild(ROTATOR, [where.keyFile, where.file, String(at + 1), moment, what])
      const name = `${what}: ${moment} ${step}`
      expect(child.stderr, name).toBe('')
      expect(child.signal, name).toBe('SIGKILL')
      const { end, generation } = await opened(where)
      const left = moment === 'after' ? settling : (steps[at - 1]?.settling ?? 'nothing to do')
      // The news that the pages are under way may come when they are done.
      if (!(step === 'pages' && moment === 'inside')) {
        const isNew = left === 'finished' || (at === steps.length - 1 && moment === 'after')
        const expected = { end: left === 'nothing to do' ? undefined : left, generation: isNew ? 2n : 1n }
        expect({ end, generation }, name).toEqual(expected)
      }
      const hasBackup = generation === 2n && what === 'rotate'
      expect(
        namesIn(where.dataDir).filter((file) => !file.endsWith('.tmp')),
        name,
      ).toEqual(hasBackup ? [...SET.slice(0, 1), ...BACKUP, ...SET.slice(1)] : SET)
      expect(await fileStates(where), name).toEqual(hasBackup ? ['encrypted', 'encrypted'] : ['encrypted'])
      const again = await rotate(where)
      expect(again, name).toEqual({ outcome: 'rotated' })
      expect(await opened(where), name).toEqual({ end: undefined, generation: generation + 1n })
    })
  }, 240_000)

  it('at any change is settled by the same command again, which says how', async () => {
    const made = await home()
    const undone = await copyOf(made)
    await runChild(ROTATOR, [undone.keyFile, undone.file, '4', 'after', 'rotate'])
    expect(await rotate(undone)).toEqual({ outcome: 'rotated', earlier: 'undone' })
    expect(await opened(undone)).toEqual({ end: undefined, generation: 2n })
    const finished = await copyOf(made)
    await runChild(ROTATOR, [finished.keyFile, finished.file, '6', 'after', 'rotate'])
    expect(await rotate(finished)).toEqual({ outcome: 'finished', earlier: 'finished' })
    expect(await opened(finished)).toEqual({ end: undefined, generation: 2n })
  })

  it('and killed again at any change of settling, is settled by the start after that', async () => {
    const made = await home()
    for (const [killAt, most] of [
      [4, 7],
      [5, 4],
    ] as const) {
      const pending = await copyOf(made)
      await runChild(ROTATOR, [pending.keyFile, pending.file, String(killAt), 'after', 'rotate'])
      const again = Array.from({ length: most }, (_, at) => at + 1)
      const signals = await mapBounded(again, CHILDREN, async (at) => {
        const where = await copyOf(pending)
        const child = await runChild(ROTATOR, [where.keyFile, where.file, String(at), 'after', 'settle'])
        expect((await opened(where)).generation).toBe(killAt === 4 ? 1n : 2n)
        return child.signal
      })
      // Every change was reached, and there is none after the last.
      expect(signals).toEqual([...Array.from({ length: most - 1 }, () => 'SIGKILL'), null])
    }
  }, 120_000)

  it(
    'at any moment leaves the same',
    async () => {
      const pages = 1500
      const made = await place()
      await madeDatabase(made, pages)
      const delays = Array.from({ length: INSTANTS }, (_, at) => (at * 160) / INSTANTS)
      const ends = await mapBounded(delays, CHILDREN, async (delayMs) => {
        const where = await copyOf(made)
        const child = startChild(ROTATOR, [where.keyFile, where.file, '0', 'before', 'rotate'])
        child.stdout?.once('data', () => setTimeout(() => child.kill('SIGKILL'), delayMs))
        await ended(child)
        const { generation } = await opened(where, pages)
        expect(await fileStates(where)).not.toContain('rotation_pending')
        return generation
      })
      expect(ends).toHaveLength(INSTANTS)
    },
    INSTANTS_MS,
  )
})

async function copyOf(made: Place): Promise<Place> {
  const where = await place()
  for (const file of namesIn(made.dataDir)) copyFileSync(`${made.dataDir}/${file}`, `${where.dataDir}/${file}`)
  return { ...where, keyFile: made.keyFile, provider: made.provider }
}
