import { cpSync, existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { mapBounded } from '../../src/encryption/bounded.js'
import { runChild } from '../support/child.js'
import { tableOf } from '../support/document.js'
import type { Form } from './forms.js'
import { type Place, REDB, SQLITE, namesIn, place } from './setup.js'

const LIFE = new URL('./child/life.ts', import.meta.url)
/** Before a step is after the one before: only what comes first is tried both ways, with SQLite. */
const momentsOf = (form: Form) =>
  form === SQLITE ? (['before', 'inside', 'after'] as const) : (['inside', 'after'] as const)
const CHILDREN = 2

const rowsOf = (title: string) => tableOf(title, 'stopped after').map(([step = '', , start = '']) => ({ step, start }))
const CREATION = rowsOf('5.3')
const DELETION = rowsOf('5.4')
const EACH_BESIDE = 'each file beside removed'

/** Everything that the life of a file changes on the disk, in order, as the document has it; the kill comes at each. */
const stepsOf = (form: Form) => [
  ...CREATION,
  ...DELETION.flatMap((row) => (row.step === EACH_BESIDE ? form.sideFiles.map(() => row) : [row])),
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
  const points = steps.flatMap((row, at) => momentsOf(form).map((moment) => ({ ...row, killAt: at + 1, moment })))

  it('at any point leaves a state that the next start settles, and loses nothing that was acknowledged', async () => {
    const outcomes = await mapBounded(points, CHILDREN, async ({ step, start, killAt, moment }) => {
      const where = await place(form)
      const child = await runChild(LIFE, [where.keyFile, where.file, String(killAt), moment, 'create'])
      expect(child.stderr).toBe('')
      expect(child.signal, `${moment} ${step}`).toBe('SIGKILL')
      const outcome = await settled(where)
      const left = moment === 'after' ? start : steps[killAt - 2]?.start
      expect(outcome, `${moment} ${step}`).toBe(left === 'serves it' ? 'served' : 'nothing')
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
    const again = steps.slice(CREATION.length + 1).map((_, at) => at + 1)
    const created = CREATION.map(({ step }) => step)
    const leftBehind =
      form === SQLITE
        ? [created.indexOf('manifest created') + 1, created.indexOf('data made') + 1, CREATION.length + 1]
        : [created.indexOf('data begun') + 1, created.indexOf('data made') + 1]
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
