import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ControlPlane } from '../../src/control/control-plane.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { NimbusError } from '../../src/errors.js'
import { RecordedTenants } from '../../src/server/recorded-tenants.js'
import { startTenants } from '../../src/server/start-tenants.js'
import { createSqliteProvider } from '../../src/tenants/sqlite/provider.js'
import { openControlPlane } from '../control/open.js'
import { CONTROL_PLANE, type Place, genuine, namesIn, otherProvider, place, sealedBy } from '../encryption/setup.js'
import { temporaryDirectory } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'
import { MemoryTenants } from '../support/memory-tenants.js'
import { parseManifest } from '../../src/manifest/parse.js'

interface Home {
  readonly control: ControlPlane
  readonly memory: MemoryTenants
  readonly warnings: string[]
  readonly records: () => [string, string][]
  readonly events: () => string[]
  start(): Promise<RecordedTenants>
}

/** A control plane over tenants in memory, which a test makes and loses as it likes. */
async function home(): Promise<Home> {
  const control = await openControlPlane({ directory: temporaryDirectory() })
  onTestFinished(() => control.close())
  const memory = new MemoryTenants()
  const warnings: string[] = []
  return {
    control,
    memory,
    warnings,
    records: () => control.tenantsOf('sqlite', String).all(),
    events: () => control.events.newest(3).map(({ event }) => event),
    start: async () => {
      const dataDir = temporaryDirectory()
      const tenants = new RecordedTenants({ tenants: memory, control, dataDir, warn: (what) => warnings.push(what) })
      await tenants.reconcile(await tenants.start())
      return tenants
    },
  }
}

type Recorded = 'none' | 'creating' | 'active' | 'deleting' | 'lost'

async function record({ control }: Home, state: Recorded): Promise<void> {
  const records = control.tenantsOf('sqlite', String)
  if (state === 'none') return
  await records.beginCreation('demo')
  if (state === 'creating') return
  await records.finishCreation('demo', Date.UTC(2026, 0, 31))
  if (state === 'deleting') await records.beginDeletion('demo')
  if (state === 'lost') await records.lose('demo')
}

describe('a start', () => {
  const matrix: [Recorded, boolean, string | undefined, string, string | undefined][] = [
    // recorded, is there, then recorded, served, event
    ['none', true, 'active', 'served', 'tenant_found'],
    ['creating', true, 'active', 'served', 'tenant_creation_finished'],
    ['creating', false, undefined, 'tenant_not_found', 'tenant_creation_undone'],
    ['active', true, 'active', 'served', undefined],
    ['active', false, 'lost', 'data_missing', 'tenant_lost'],
    ['deleting', true, undefined, 'tenant_not_found', 'tenant_deletion_finished'],
    ['deleting', false, undefined, 'tenant_not_found', 'tenant_deletion_finished'],
    ['lost', true, 'active', 'served', 'tenant_restored'],
    ['lost', false, 'lost', 'data_missing', undefined],
  ]

  it.each(matrix)(
    'with a tenant recorded as %s, there: %s, records %s: %s',
    async (state, isThere, then, answer, event) => {
      const where = await home()
      await record(where, state)
      if (isThere) await where.memory.create('demo')
      const before = where.events()[0]
      const tenants = await where.start()
      expect(where.records()).toEqual(then === undefined ? [] : [['demo', then]])
      expect(await answerOf(tenants)).toBe(answer)
      expect(where.events()[0]).toBe(event ?? before)
      expect(where.memory.ids()).toEqual(answer === 'served' ? ['demo'] : [])
      expect(where.warnings.length).toBe(then === 'lost' || state === 'lost' ? 1 : 0)
    },
  )

  it('leaves records of another provider alone', async () => {
    const where = await home()
    const others = where.control.tenantsOf('redb', String)
    await others.beginCreation('demo')
    await where.start()
    expect(where.control.tenantsOf('redb', String).all()).toEqual([['demo', 'creating']])
  })
})

describe('a start that one tenant refuses', () => {
  const manifest = 'demo.sqlite3.nimbus-enc'

  it('is recorded in the control plane', async () => {
    const where = await place(CONTROL_PLANE)
    await served(where, async (tenants) => {
      await tenants.create('demo')
    })
    const bytes = readFileSync(path.join(where.dataDir, manifest))
    writeFileSync(path.join(where.dataDir, manifest), 'no manifest')
    expect(await rejectionOf(served(where, async () => {}))).toMatchObject({ code: 'manifest_altered' })
    writeFileSync(path.join(where.dataDir, manifest), bytes)
    await served(where, async (_, control) => {
      expect(control.events.newest(1)).toMatchObject([
        { event: 'start_refused', subject: path.join(where.dataDir, manifest), note: 'manifest_altered' },
      ])
    })
  })

  it('under another key, or under none, leaves no control plane that the right key would not open', async () => {
    const where = await place(CONTROL_PLANE)
    await served(where, async (tenants) => {
      await tenants.create('demo')
    })
    for (const name of namesIn(where.dataDir))
      if (name.startsWith('nimbus-control.db')) rmSync(path.join(where.dataDir, name))
    const left = namesIn(where.dataDir)
    const other = { ...where, provider: await otherProvider(where) }
    expect(await rejectionOf(served(other, async () => {}))).toMatchObject({ code: 'key_wrong' })
    const plain = { dataDir: where.dataDir, provider: undefined }
    expect(await rejectionOf(served(plain, async () => {}))).toMatchObject({ code: 'encrypted_but_disabled' })
    expect(namesIn(where.dataDir)).toEqual(left)
    await served(where, async (tenants, control) => {
      expect(await answerOf(tenants)).toBe('served')
      expect(control.events.newest(9).map(({ event }) => event)).toEqual(['tenant_found', 'control_plane_created'])
    })
  })
})

describe('a lost tenant', () => {
  it('keeps its name taken until its loss is accepted by deleting it', async () => {
    const where = await home()
    await record(where, 'active')
    const tenants = await where.start()
    expect(where.warnings[0]).toContain('tenant demo is recorded, and its database is gone')
    expect(where.warnings[0]).toContain('DELETE /api/tenants/demo')
    const taken = await rejectionOf(tenants.create('demo'))
    expect(taken).toMatchObject({ code: 'tenant_exists' })
    expect(taken.remediation).toContain('Restore its files from a backup')
    expect(await tenants.files()).toMatchObject([
      { state: 'data_missing', subject: 'db:sqlite:tenant:demo:demo.sqlite3' },
      { family: 'control_plane_redb' },
    ])
    await tenants.delete('demo')
    expect(where.events()[0]).toBe('tenant_loss_accepted')
    expect(await answerOf(tenants)).toBe('tenant_not_found')
    await tenants.create('demo')
    expect(await answerOf(tenants)).toBe('served')
  })
})

describe('a creation', () => {
  it('of a tenant that exists changes no record', async () => {
    const where = await home()
    const tenants = await where.start()
    await tenants.create('demo')
    expect(await rejectionOf(tenants.create('demo'))).toMatchObject({ code: 'tenant_exists' })
    expect(where.records()).toEqual([['demo', 'active']])
  })

  it('that fails leaves neither tenant nor record', async () => {
    const where = await home()
    const tenants = await where.start()
    const create = where.memory.create.bind(where.memory)
    where.memory.create = () => Promise.reject(new NimbusError('disk_full', 'full'))
    expect(await rejectionOf(tenants.create('demo'))).toMatchObject({ code: 'disk_full' })
    expect(where.records()).toEqual([])
    where.memory.create = create
    await tenants.create('demo')
    expect(where.events()[0]).toBe('tenant_created')
  })

  it('of two at once makes one', async () => {
    const where = await home()
    const tenants = await where.start()
    const outcomes = await Promise.allSettled([tenants.create('demo'), tenants.create('demo')])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(where.memory.ids()).toEqual(['demo'])
  })
})

describe('a deletion', () => {
  it('that fails before it begins leaves tenant and record as they were', async () => {
    const where = await home()
    const tenants = await where.start()
    await tenants.create('demo')
    where.memory.delete = () => Promise.reject(new NimbusError('file_busy', 'busy'))
    expect(await rejectionOf(tenants.delete('demo'))).toMatchObject({ code: 'file_busy' })
    expect(where.records()).toEqual([['demo', 'active']])
    expect(await answerOf(tenants)).toBe('served')
  })

  it('of a tenant that does not exist is refused', async () => {
    const where = await home()
    expect(await rejectionOf((await where.start()).delete('demo'))).toMatchObject({ code: 'tenant_not_found' })
  })

  it('takes the tenant out of the scope of every token, and revokes those that were for it alone', async () => {
    const where = await home()
    const tenants = await where.start()
    const { tokens } = where.control
    await tenants.create('demo')
    const alone = await tokens.create({ name: 'alone', tenants: ['demo'], access: 'write' })
    const both = await tokens.create({ name: 'both', tenants: ['demo', 'other'], access: 'write' })
    const every = await tokens.create({ name: 'every', tenants: ['*'], access: 'write' })
    await tenants.delete('demo')
    await tenants.create('demo')
    expect(tokens.grantOf(alone.token)).toBeUndefined()
    expect(tokens.grantOf(both.token)?.permits('read', 'demo')).toBe(false)
    expect(tokens.grantOf(both.token)?.permits('write', 'other')).toBe(true)
    expect(tokens.grantOf(every.token)?.permits('write', 'demo')).toBe(true)
    expect(tokens.all().map(({ name, revoked_at: revoked }) => [name, revoked === null])).toEqual(
      expect.arrayContaining([
        ['alone', false],
        ['both', true],
        ['every', true],
      ]),
    )
  })
})

/** A server over encrypted SQLite tenants, started and stopped. */
async function served(
  where: { readonly dataDir: string; readonly provider: KeyProvider | undefined },
  work: (tenants: RecordedTenants, control: ControlPlane) => Promise<void>,
) {
  const { dataDir, provider: keys } = where
  const warnings: string[] = []
  const { tenants, control, close } = await startTenants({
    tenantsOf: (onRotation) => createSqliteProvider({ directory: dataDir, keys, onRotation }),
    controlPlane: { directory: dataDir, keys },
    dataDir,
    warn: (what) => warnings.push(what),
  })
  await work(tenants, control)
  await close()
  return warnings
}

describe('an old file and its old manifest, put back together', () => {
  /** The manifest of the tenant as if its key had been changed since: of a later generation, genuine in every way. */
  async function rekey(where: Place, file: string, generation: bigint): Promise<void> {
    const { manifest } = parseManifest(readFileSync(`${file}.nimbus-enc`), file)
    const subject = { family: 'sqlite_tenant', tenant: 'demo' } as const
    const { createdAt } = manifest
    const made = await genuine(where.provider, { subject, profile: manifest.profile, generation, createdAt })
    const data = readFileSync(file)
    writeFileSync(file, Buffer.concat([made.manifest.current.fileId, data.subarray(16)]))
    writeFileSync(`${file}.nimbus-enc`, sealedBy(made.dek, made.manifest))
  }

  it('are served, reported in the status, in the log and as an event, until a new key is above all that were seen', async () => {
    const where = await place(CONTROL_PLANE)
    const file = `${where.dataDir}/demo.sqlite3`
    await served(where, async (tenants) => {
      await tenants.create('demo')
    })
    const old = [readFileSync(file), readFileSync(`${file}.nimbus-enc`)]
    await rekey(where, file, 2n)
    expect(
      await served(where, async (tenants, control) => {
        expect(control.events.newest(1)).toMatchObject([{ event: 'dek_rotated', note: 'generation 1 to 2' }])
        expect((await tenants.files())[0]?.note).toBeUndefined()
      }),
    ).toEqual([])

    writeFileSync(file, old[0] ?? '')
    writeFileSync(`${file}.nimbus-enc`, old[1] ?? '')
    for (const round of [1, 2]) {
      const warnings = await served(where, async (tenants, control) => {
        expect(await answerOf(tenants), String(round)).toBe('served')
        expect(control.events.newest(1)).toMatchObject([{ event: 'older_file_put_back' }])
        const [status] = await tenants.files()
        expect(status).toMatchObject({ state: 'encrypted', generation: '1' })
        expect(status?.note).toContain('an older file was put back: its key is of generation 1, and 2 was here before')
      })
      expect(warnings).toHaveLength(1)
    }
    await rekey(where, file, 3n)
    expect(
      await served(where, async (tenants) => {
        expect((await tenants.files())[0]?.note).toBeUndefined()
      }),
    ).toEqual([])
  })

  it('are those of a new tenant once a start has finished their deletion', async () => {
    const where = await place(CONTROL_PLANE)
    const file = `${where.dataDir}/demo.sqlite3`
    await served(where, async (tenants, control) => {
      await tenants.create('demo')
      await control.tenantsOf('sqlite', () => 'db:sqlite:tenant:demo:demo.sqlite3').beginDeletion('demo')
    })
    const old = [readFileSync(file), readFileSync(`${file}.nimbus-enc`)]
    await served(where, async (tenants) => {
      expect(await answerOf(tenants)).toBe('tenant_not_found')
      await tenants.create('demo')
      await tenants.delete('demo')
    })
    writeFileSync(file, old[0] ?? '')
    writeFileSync(`${file}.nimbus-enc`, old[1] ?? '')
    const warnings = await served(where, async (_, control) => {
      expect(control.events.newest(1)).toMatchObject([{ event: 'tenant_found' }])
    })
    expect(warnings).toEqual([])
  })

  it('are reported as well if a tenant of the same name was made in between', async () => {
    const where = await place(CONTROL_PLANE)
    const file = `${where.dataDir}/demo.sqlite3`
    const old: Buffer[] = []
    await served(where, async (tenants) => {
      await tenants.create('demo')
    })
    old.push(readFileSync(file), readFileSync(`${file}.nimbus-enc`))
    await served(where, async (tenants) => {
      await tenants.delete('demo')
      await tenants.create('demo')
    })
    writeFileSync(file, old[0] ?? '')
    writeFileSync(`${file}.nimbus-enc`, old[1] ?? '')
    expect(await served(where, async () => {})).toEqual([
      expect.stringContaining('an older file was put back: its key was made at'),
    ])
  })
})

describe('a tenant of SQLite whose files are all gone', () => {
  it('is missed by the next start, and the others are served', async () => {
    const where = await place(CONTROL_PLANE)
    await served(where, async (tenants) => {
      await tenants.create('demo')
      await tenants.create('other')
    })
    for (const name of ['demo.sqlite3', 'demo.sqlite3.nimbus-enc']) rmSync(`${where.dataDir}/${name}`)
    const warnings = await served(where, async (tenants) => {
      expect(await answerOf(tenants)).toBe('data_missing')
      expect(await answerOf(tenants, 'other')).toBe('served')
      expect((await tenants.files()).map(({ path, state }) => [path.slice(where.dataDir.length + 1), state])).toEqual([
        ['other.sqlite3', 'encrypted'],
        ['demo.sqlite3', 'data_missing'],
        ['nimbus-control.db', 'encrypted'],
      ])
    })
    expect(warnings).toHaveLength(1)
  })
})

/** How a request for the tenant is answered. */
async function answerOf(tenants: RecordedTenants, id = 'demo'): Promise<string> {
  try {
    await tenants.open(id)
    return 'served'
  } catch (error) {
    if (error instanceof NimbusError) return error.code
    throw error
  }
}
