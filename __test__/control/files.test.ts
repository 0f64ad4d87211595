import { describe, expect, it, onTestFinished } from 'vitest'
import type { ControlPlane } from '../../src/control/control-plane.js'
import type { FileStatus, SeenFile } from '../../src/encryption/status.js'
import { temporaryDirectory } from '../support/directory.js'
import { openControlPlane } from './open.js'

const SUBJECT = 'db:sqlite:tenant:demo:demo.sqlite3'
const [MONDAY, TUESDAY, WEDNESDAY] = [
  '2026-02-02T00:00:00.000Z',
  '2026-02-03T00:00:00.000Z',
  '2026-02-04T00:00:00.000Z',
]

const SEEN: SeenFile = {
  subject: SUBJECT,
  state: 'encrypted',
  generation: '2',
  created_at: TUESDAY,
  rotated_at: null,
  key_id: 'one',
}

const status = (seen: SeenFile): FileStatus => ({
  ...seen,
  path: '/data/demo.sqlite3',
  family: 'embedded_sqlite',
  cipher: 'sqlcipher',
  profile: 'sqlcipher-4-sha256',
  provider: 'master_key_file',
  verified_at: null,
  size_bytes: 4096,
})

/** What a start tells of a file, after others have seen it as these: its warnings, its event, and what the status says then. */
async function tellAfter(before: readonly SeenFile[], now: SeenFile) {
  const directory = temporaryDirectory()
  const open = async (): Promise<ControlPlane> => {
    const control = await openControlPlane({ directory })
    onTestFinished(() => control.close())
    return control
  }
  let control = await open()
  for (const seen of before) await control.files.observe([seen], new Set())
  await control.close()
  control = await open()
  const known = control.events.newest(100).length
  const warnings = await control.files.observe([now], new Set())
  const events = control.events.newest(100)
  const told = events.slice(0, events.length - known).map(({ event, note }) => [event, note])
  const { note, verified_at: verifiedAt } = control.files.annotate(status(now))
  return { warnings, told, note, verifiedAt }
}

describe('a file that a start sees', () => {
  it.each<[string, SeenFile[], SeenFile, [string, string | null][], string | null]>([
    ['for the first time', [], SEEN, [['file_encrypted', null]], null],
    ['as before', [SEEN], SEEN, [], null],
    [
      'under a new key, whose change has read every page',
      [SEEN],
      { ...SEEN, generation: '3', rotated_at: WEDNESDAY },
      [['dek_rotated', 'generation 2 to 3']],
      WEDNESDAY,
    ],
    [
      'of the generation that was here before, under a key made since: it was put back and rekeyed',
      [SEEN],
      { ...SEEN, rotated_at: WEDNESDAY },
      [['dek_rotated', 'generation 2 to 2']],
      WEDNESDAY,
    ],
    [
      'wrapped by another key',
      [{ ...SEEN, rotated_at: WEDNESDAY }],
      { ...SEEN, rotated_at: WEDNESDAY, key_id: 'two' },
      [['kek_rotated', 'key one to two']],
      WEDNESDAY,
    ],
    [
      'made anew later',
      [{ ...SEEN, rotated_at: TUESDAY }],
      { ...SEEN, generation: '1', created_at: WEDNESDAY },
      [['file_replaced', `made at ${WEDNESDAY}, the one before at ${TUESDAY}`]],
      null,
    ],
    [
      'older, and rekeyed since it was put back',
      [{ ...SEEN, generation: '1' }],
      { ...SEEN, generation: '9', created_at: MONDAY, rotated_at: WEDNESDAY },
      [['file_replaced', `made at ${MONDAY}, the one before at ${TUESDAY}`]],
      WEDNESDAY,
    ],
    [
      'as plaintext',
      [SEEN],
      { ...SEEN, state: 'plaintext', generation: null, created_at: null, key_id: null },
      [['file_decrypted', null]],
      null,
    ],
    ['without a manifest that can be read', [SEEN], { ...SEEN, state: 'unreadable', generation: null }, [], null],
  ])('%s', async (_how, before, now, events, verifiedAt) => {
    const { warnings, told, note, ...rest } = await tellAfter(before, now)
    expect({ warnings, told, note }).toEqual({ warnings: [], told: events, note: undefined })
    expect(rest.verifiedAt).toBe(verifiedAt)
  })

  it.each<[string, SeenFile, string]>([
    ['of an earlier generation', { ...SEEN, generation: '1' }, 'its key is of generation 1, and 2 was here before'],
    [
      'of an earlier generation, which a wrong clock made later',
      { ...SEEN, generation: '1', rotated_at: WEDNESDAY },
      'its key is of generation 1, and 2 was here before',
    ],
    [
      'of a file made before, whatever its generation',
      { ...SEEN, generation: '7', created_at: MONDAY },
      `its key was made at ${MONDAY}, and one made at ${TUESDAY} was here before`,
    ],
  ])('%s is reported by every start, and by the events once', async (_how, now, why) => {
    const first = await tellAfter([SEEN], now)
    expect(first).toMatchObject({ warnings: [`${SUBJECT}: an older file was put back: ${why}`] })
    expect(first.told).toEqual([['older_file_put_back', `an older file was put back: ${why}`]])
    expect(first.note).toContain(why)
    const second = await tellAfter([SEEN, now], now)
    expect(second).toMatchObject({ warnings: first.warnings, told: [], note: first.note })
    expect(await tellAfter([SEEN, now], SEEN)).toMatchObject({ warnings: [], told: [], note: undefined })
  })
})

describe('a file that was verified', () => {
  const WHEN = expect.stringMatching(/^20\d\d-/) as string
  const recorded = async () => {
    const control = await openControlPlane({ directory: temporaryDirectory() })
    onTestFinished(() => control.close())
    await control.files.observe([SEEN], new Set())
    return control
  }

  it('is said to be whole since then, or to have the defect that was found, which is told once', async () => {
    const { files, events } = await recorded()
    await files.verified(SUBJECT, SEEN, null)
    const whole = files.annotate(status(SEEN))
    expect(whole).toMatchObject({ verified_at: WHEN })
    expect(whole.note).toBeUndefined()
    const before = events.newest(100).length
    for (const defect of ['page 5 lost', 'page 5 lost']) await files.verified(SUBJECT, SEEN, defect)
    expect(files.annotate(status(SEEN))).toMatchObject({ verified_at: whole.verified_at, note: 'page 5 lost' })
    expect(events.newest(100)).toHaveLength(before + 1)
    expect(events.newest(1)).toMatchObject([{ event: 'defect_found', subject: SUBJECT, note: 'page 5 lost' }])
    await files.verified(SUBJECT, SEEN, null)
    expect(files.annotate(status(SEEN)).note).toBeUndefined()
  })

  it.each<[string, SeenFile, string | undefined]>([
    ['another KEK', { ...SEEN, key_id: 'two' }, 'page 5 lost'],
    ['another DEK, whose change has read every page', { ...SEEN, generation: '3', rotated_at: WEDNESDAY }, undefined],
  ])('keeps a defect as long as the pages are those: %s', async (_what, later, note) => {
    const { files } = await recorded()
    await files.verified(SUBJECT, SEEN, 'page 5 lost')
    await files.observe([later], new Set())
    expect(files.annotate(status(later)).note).toBe(note)
  })

  it('is not said to be whole for another that was put back, nor is its backup', async () => {
    const { files } = await recorded()
    await files.verified(SUBJECT, { ...SEEN, created_at: MONDAY }, null)
    await files.verified('db:sqlite:tenant:other:other.sqlite3', SEEN, null)
    expect(files.annotate(status(SEEN)).verified_at).toBeNull()
    await files.verified(SUBJECT, SEEN, 'page 5 lost')
    const backup = { ...status({ ...SEEN, generation: '1' }), path: '/data/demo.sqlite3.bak' }
    expect(files.annotate(backup)).toEqual(backup)
  })
})
