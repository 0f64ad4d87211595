import { cpSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { startTenants } from '../../src/server/start-tenants.js'
import { createSqliteProvider } from '../../src/tenants/sqlite/provider.js'
import { CONTROL_PLANE, type Place, namesIn, place } from '../encryption/setup.js'
import { runChild } from '../support/child.js'

const LIFE = new URL('./child/life.ts', import.meta.url)
const CHILDREN = 2

const MADE = ['control_plane_created']
const CREATED = [...MADE, 'tenant_created']

/** Everything that this life makes durable, in order; what the next start has recorded if the kill came right after it. */
const STEPS: readonly { step: string; tenants: string[]; events: string[] }[] = [
  { step: 'manifest of the control plane: creating', tenants: [], events: MADE },
  { step: 'its file, published', tenants: [], events: MADE },
  { step: 'its layout and first event', tenants: [], events: MADE },
  { step: 'manifest of the control plane: active', tenants: [], events: MADE },
  { step: 'its file, recorded as seen', tenants: [], events: MADE },
  { step: 'the tenant, recorded as creating', tenants: [], events: [...MADE, 'tenant_creation_undone'] },
  { step: 'the tenant', tenants: ['demo'], events: [...MADE, 'tenant_creation_finished'] },
  { step: 'the tenant, recorded as active', tenants: ['demo'], events: CREATED },
  { step: 'the tenant, recorded as deleting', tenants: [], events: [...CREATED, 'tenant_deletion_finished'] },
  { step: 'no tenant', tenants: [], events: [...CREATED, 'tenant_deletion_finished'] },
  { step: 'no record', tenants: [], events: [...CREATED, 'tenant_deleted'] },
]
const stepNumber = (name: string) => STEPS.findIndex(({ step }) => step === name) + 1

/** What is on the disk, told by a start that is not disturbed. */
async function startOn({ dataDir, provider: keys }: Pick<Place, 'dataDir' | 'provider'>) {
  const warnings: string[] = []
  const { tenants, control, close } = await startTenants({
    tenantsOf: (onRotation) => createSqliteProvider({ directory: dataDir, keys, onRotation }),
    controlPlane: { directory: dataDir, keys },
    dataDir,
    warn: (what) => warnings.push(what),
  })
  const found = {
    records: control.tenantsOf('sqlite', String).all(),
    ids: await tenants.ids(),
    events: control.events
      .newest(100)
      .map(({ event }) => event)
      .reverse(),
    states: (await tenants.files()).map(({ state }) => state),
    warnings,
  }
  await close()
  return found
}

describe('a server killed in the life of its control plane and a tenant', () => {
  it('after any step leaves what the next start settles and records, and loses nothing that was acknowledged', async () => {
    const points = STEPS.map((expected, at) => ({ ...expected, killAt: at + 1 }))
    await mapBounded(points, CHILDREN, async ({ step, tenants, events, killAt }) => {
      const where = await place(CONTROL_PLANE)
      const child = await runChild(LIFE, [where.keyFile, where.dataDir, String(killAt), 'after', 'nothing'])
      expect(child.stderr, step).toBe('')
      expect(child.signal, step).toBe('SIGKILL')
      const found = await startOn(where)
      expect(found.ids, step).toEqual(tenants)
      expect(found.records, step).toEqual(tenants.map((tenant) => [tenant, 'active']))
      expect(found.events, step).toEqual(events)
      expect(found.states, step).toEqual([...tenants, 'the control plane'].map(() => 'encrypted'))
      expect(found.warnings, step).toEqual([])
      expect(child.stdout.includes('created'), step).toBe(killAt > stepNumber('the tenant, recorded as active'))
      if (child.stdout.includes('created') && !child.stdout.includes('deleting')) expect(found.ids).toEqual(['demo'])
      // A start after that finds nothing more to do.
      expect(await startOn(where), step).toEqual(found)
    })
  }, 120_000)

  it('in the middle of making its control plane leaves nothing behind after the next start', async () => {
    for (const killAt of [stepNumber('its file, published'), stepNumber('manifest of the control plane: active')]) {
      const where = await place(CONTROL_PLANE)
      const child = await runChild(LIFE, [where.keyFile, where.dataDir, String(killAt), 'inside', 'nothing'])
      expect(child.signal).toBe('SIGKILL')
      expect((await startOn(where)).events).toEqual(MADE)
      expect(namesIn(where.dataDir)).toEqual(NAMES)
    }
  })

  it('is all of these steps: one later, and nothing is killed', async () => {
    const where = await place(CONTROL_PLANE)
    const child = await runChild(LIFE, [where.keyFile, where.dataDir, String(STEPS.length + 1), 'after', 'nothing'])
    expect(child).toMatchObject({ status: 0, stderr: '', stdout: 'created\ndeleting\ndeleted\nend\n' })
  })

  it('and killed again at any point of settling, is settled by the start after that', async () => {
    for (const [name, outcome] of [
      ['the tenant, recorded as creating', 'tenant_creation_undone'],
      ['the tenant', 'tenant_creation_finished'],
      ['the tenant, recorded as deleting', 'tenant_deletion_finished'],
    ] as const) {
      const where = await place(CONTROL_PLANE)
      await runChild(LIFE, [where.keyFile, where.dataDir, String(stepNumber(name)), 'after', 'nothing'])
      await mapBounded([1, 2], CHILDREN, async (killAt) => {
        const dataDir = path.join(where.directory, String(killAt))
        cpSync(where.dataDir, dataDir, { recursive: true })
        await runChild(LIFE, [where.keyFile, dataDir, String(killAt), 'after', 'settle'])
        const found = await startOn({ ...where, dataDir })
        expect(
          found.events.filter((event) => event === outcome),
          `${name}, then ${killAt}`,
        ).toEqual([outcome])
        expect(found.ids).toEqual(outcome === 'tenant_creation_finished' ? ['demo'] : [])
        expect(found.records).toEqual(found.ids.map((id) => [id, 'active']))
      })
    }
  }, 120_000)
})

const NAMES = ['nimbus-control.db', 'nimbus-control.db.nimbus-enc', 'nimbus-control.db.nimbus-lock']
