import { cpSync, existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { mapBounded } from '../../src/encryption/bounded.js'
import { runChild } from '../support/child.js'
import type { Form } from './forms.js'
import { type Place, REDB, SQLITE, namesIn, place } from './setup.js'

const LIFE = new URL('./child/life.ts', import.meta.url)
/** Before a step is after the one before: only what comes first is tried both ways, with SQLite. */
const momentsOf = (form: Form) =>
  form === SQLITE ? (['before', 'inside', 'after'] as const) : (['inside', 'after'] as const)
const CHILDREN = 2

/** Everything that the life of a file changes on the disk, in order; the kill comes at each. */
const stepsOf = (form: Form) => [
  'manifest: creating',
  ...(form === SQLITE ? ['data', 'wal'] : ['unpublished data', 'publish']),
  'manifest: active',
  'manifest: deleting',
  'remove data',
  ...form.sideFiles.map((suffix) => `remove ${suffix}`),
  'remove manifest.tmp',
  'remove manifest',
]

/** After a start: the file is served whole, or there is nothing left of it. */
async function settled({ dataDir, file, form, provider }: Place): Promise<'served' | 'nothing'> {
  if (!existsSync(`${file}.nimbus-enc`)) {
    expect(namesIn(dataDir)).toEqual([])
    return 'nothing'
  }
  const checked = await checkProtected(file, form.subject, provider)
  if (checked === undefined) {
    expect(namesIn(dataDir)).toEqual([])
    return 'nothing'
  }
  expect(readFileSync(file)).toEqual(form.dataOf(checked.fileId))
  expect(checked.manifest.state).toBe('active')
  return 'served'
}

describe.each([SQLITE, REDB])('a process killed in the life of $fileName', (form) => {
  const steps = stepsOf(form)
  const points = steps.flatMap((step, at) => momentsOf(form).map((moment) => ({ step, killAt: at + 1, moment })))

  it('at any point leaves a state that the next start settles, and loses nothing that was acknowledged', async () => {
    const outcomes = await mapBounded(points, CHILDREN, async ({ step, killAt, moment }) => {
      const where = await place(form)
      const child = await runChild(LIFE, [where.keyFile, where.file, String(killAt), moment, 'create'])
      expect(child.stderr).toBe('')
      expect(child.signal, `${moment} ${step}`).toBe('SIGKILL')
      const said = child.stdout.split('\n')
      const outcome = await settled(where)
      // Acknowledged, and nobody asked for its deletion: then it is there. Deleted: then it is not.
      const mustBeThere = said.includes('created') && step === 'manifest: deleting' && moment !== 'after'
      const mustBeGone = killAt > steps.indexOf('manifest: deleting') + 1 || killAt <= steps.indexOf('manifest: active')
      if (mustBeThere) expect(outcome, `${moment} ${step}`).toBe('served')
      if (mustBeGone) expect(outcome, `${moment} ${step}`).toBe('nothing')
      expect(await settled(where)).toBe(outcome)
      return outcome
    })
    expect(outcomes.filter((outcome) => outcome === 'served').length).toBe(momentsOf(form).length)
    expect(outcomes.length).toBe(momentsOf(form).length * steps.length)
  }, 120_000)

  it('is all of these steps: one later, and nothing is killed', async () => {
    const where = await place(form)
    const child = await runChild(LIFE, [where.keyFile, where.file, String(steps.length + 1), 'before', 'create'])
    expect(child).toMatchObject({ status: 0, stderr: '', stdout: 'begun\ncreated\ndeleting\ndeleted\nend\n' })
  })

  it('and killed again at any point of settling, is settled by the start after that', async () => {
    const removals = steps.slice(steps.indexOf('remove data'))
    const leftBehind = (
      form === SQLITE ? ['manifest: creating', 'wal', 'manifest: deleting'] : ['unpublished data', 'publish']
    ).map((step) => steps.indexOf(step) + 1)
    const again = removals.map((_, at) => at + 1)
    for (const killAt of leftBehind) {
      const where = await place(form)
      await runChild(LIFE, [where.keyFile, where.file, String(killAt), 'after', 'create'])
      await mapBounded(again, CHILDREN, async (killAt) => {
        const copy = { ...where, dataDir: path.join(where.directory, String(killAt)) }
        cpSync(where.dataDir, copy.dataDir, { recursive: true })
        const file = path.join(copy.dataDir, form.fileName)
        const child = await runChild(LIFE, [where.keyFile, file, String(killAt), 'after', 'settle'])
        expect(child.signal).toBe('SIGKILL')
        expect(await settled({ ...copy, file })).toBe('nothing')
      })
    }
  }, 120_000)
})
