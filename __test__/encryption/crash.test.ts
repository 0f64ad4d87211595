import { cpSync, existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { mapBounded } from '../../src/encryption/bounded.js'
import { runChild } from '../support/child.js'
import { DEMO, type Place, dataOf, namesIn, place } from './setup.js'

const LIFE = new URL('./child/life.ts', import.meta.url)
const MOMENTS = ['before', 'inside', 'after'] as const
const CHILDREN = 2

/** Everything that the life of a file changes on the disk, in order; the kill comes at each. */
const STEPS = [
  'manifest: creating',
  'data',
  'wal',
  'manifest: active',
  'manifest: deleting',
  'remove data',
  'remove -wal',
  'remove -shm',
  'remove -journal',
  'remove manifest.tmp',
  'remove manifest',
]
const points = STEPS.flatMap((step, at) => MOMENTS.map((moment) => ({ step, killAt: at + 1, moment })))

/** After a start: the file is served whole, or there is nothing left of it. */
async function settled({ dataDir, file, provider }: Place): Promise<'served' | 'nothing'> {
  if (!existsSync(`${file}.nimbus-enc`)) {
    expect(namesIn(dataDir)).toEqual([])
    return 'nothing'
  }
  const checked = await checkProtected(file, DEMO, provider)
  if (checked === undefined) {
    expect(namesIn(dataDir)).toEqual([])
    return 'nothing'
  }
  expect(readFileSync(file)).toEqual(dataOf(checked))
  expect(checked.manifest.state).toBe('active')
  return 'served'
}

describe('a process killed in the life of a file', () => {
  it('at any point leaves a state that the next start settles, and loses nothing that was acknowledged', async () => {
    const outcomes = await mapBounded(points, CHILDREN, async ({ step, killAt, moment }) => {
      const where = await place()
      const child = await runChild(LIFE, [where.keyFile, where.file, String(killAt), moment, 'create'])
      expect(child.stderr).toBe('')
      expect(child.signal, `${moment} ${step}`).toBe('SIGKILL')
      const said = child.stdout.split('\n')
      const outcome = await settled(where)
      // Acknowledged, and nobody asked for its deletion: then it is there. Deleted: then it is not.
      const mustBeThere = said.includes('created') && step === 'manifest: deleting' && moment !== 'after'
      const mustBeGone = killAt > STEPS.indexOf('manifest: deleting') + 1 || killAt <= STEPS.indexOf('wal') + 1
      if (mustBeThere) expect(outcome, `${moment} ${step}`).toBe('served')
      if (mustBeGone) expect(outcome, `${moment} ${step}`).toBe('nothing')
      expect(await settled(where)).toBe(outcome)
      return outcome
    })
    expect(outcomes.filter((outcome) => outcome === 'served').length).toBe(3)
    expect(outcomes.length).toBe(33)
  }, 120_000)

  it('is all of these steps: one later, and nothing is killed', async () => {
    const where = await place()
    const child = await runChild(LIFE, [where.keyFile, where.file, String(STEPS.length + 1), 'before', 'create'])
    expect(child).toMatchObject({ status: 0, stderr: '', stdout: 'created\ndeleting\ndeleted\nend\n' })
  })

  it('and killed again at any point of settling, is settled by the start after that', async () => {
    const removals = STEPS.slice(STEPS.indexOf('remove data'))
    const leftBehind = ['manifest: creating', 'wal', 'manifest: deleting'].map((step) => STEPS.indexOf(step) + 1)
    const again = removals.map((_, at) => at + 1)
    for (const killAt of leftBehind) {
      const where = await place()
      await runChild(LIFE, [where.keyFile, where.file, String(killAt), 'after', 'create'])
      await mapBounded(again, CHILDREN, async (killAt) => {
        const copy = { ...where, dataDir: path.join(where.directory, String(killAt)) }
        cpSync(where.dataDir, copy.dataDir, { recursive: true })
        const file = path.join(copy.dataDir, 'demo.sqlite3')
        const child = await runChild(LIFE, [where.keyFile, file, String(killAt), 'after', 'settle'])
        expect(child.signal).toBe('SIGKILL')
        expect(await settled({ ...copy, file })).toBe('nothing')
      })
    }
  }, 120_000)
})
