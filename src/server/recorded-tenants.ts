/** Tenants with a record of each: what is made, deleted or lost is in the control plane too (the tables of `control/tenants.ts`). */
import path from 'node:path'
import type { ControlPlane } from '../control/control-plane.js'
import { CONTROL_PLANE } from '../control/file.js'
import type { TenantRecords } from '../control/tenants.js'
import { type FileStatus, type SeenFile, readFileStatus } from '../encryption/status.js'
import { NimbusError } from '../errors.js'
import { type FileSubject, describe, parseTenantId, servedName } from '../keys/subject.js'
import type { Findings, VerifyOptions } from '../native.js'
import type {
  PageRequest,
  TenantInfo,
  TenantPage,
  TenantProvider,
  TenantStats,
  TenantStore,
} from '../tenants/contract.js'
import { KeyedLocks } from '../tenants/locks.js'

export interface RecordedTenantsOptions {
  readonly tenants: TenantProvider
  readonly control: ControlPlane
  /** Where files of tenants lie, if they have any. */
  readonly dataDir: string
  readonly warn: (what: string) => void
}

export class RecordedTenants implements TenantProvider {
  readonly name: TenantProvider['name']
  readonly #tenants: TenantProvider
  readonly #control: ControlPlane
  readonly #records: TenantRecords
  readonly #dataDir: string
  readonly #warn: (what: string) => void
  /** One creation or deletion of a tenant at a time, with its records. */
  readonly #lives = new KeyedLocks()
  /** Recorded, and not there. */
  readonly #lost = new Set<string>()

  constructor({ tenants, control, dataDir, warn }: RecordedTenantsOptions) {
    this.name = tenants.name
    this.#tenants = tenants
    this.#control = control
    this.#dataDir = dataDir
    this.#warn = warn
    this.#records = control.tenantsOf(tenants.name, (tenant) => this.#subjectText(tenant))
  }

  start(): Promise<readonly SeenFile[]> {
    return this.#tenants.start()
  }

  /** Settles what the records and the started tenants say of each other, then compares their files with those of the starts before. */
  async reconcile(files: readonly SeenFile[]): Promise<void> {
    const adopted = await this.#reconcileTenants()
    // A deletion that was finished just now has left none of its file.
    const there = new Set((await this.#tenants.ids()).map((id) => this.#subjectText(id)))
    const seen = files.filter(({ subject }) => subject !== null && there.has(subject))
    const told = adopted.map((id) => this.#subjectText(id))
    if (this.#control.isAsMade) told.push(describe(CONTROL_PLANE))
    const warnings = await this.#control.files.observe([...seen, await this.#control.status()], new Set(told))
    for (const warning of warnings) this.#warn(warning)
  }

  ids(): Promise<readonly string[]> | readonly string[] {
    return this.#tenants.ids()
  }

  async create(id: string): Promise<TenantInfo> {
    return this.#lives.run([parseTenantId(id)], async () => {
      if (this.#lost.has(id)) throw lostExists(id)
      if (this.#records.stateOf(id) !== undefined) throw tenantExists(id)
      await this.#records.beginCreation(id)
      let made: TenantInfo | undefined
      try {
        made = await this.#tenants.create(id)
        await this.#records.finishCreation(id, made.createdAt, await this.#fileOf(id))
        return made
      } catch (error) {
        await this.#giveUp(id, made !== undefined)
        throw error
      }
    })
  }

  async delete(id: string): Promise<void> {
    await this.#lives.run([parseTenantId(id)], async () => {
      if (this.#lost.has(id)) {
        await this.#records.forget(id, 'tenant_loss_accepted')
        this.#lost.delete(id)
        return
      }
      if (this.#records.stateOf(id) === undefined) throw tenantNotFound(id)
      await this.#records.beginDeletion(id)
      try {
        await this.#tenants.delete(id)
      } catch (error) {
        await this.#keep(id)
        throw error
      }
      await this.#records.forget(id, 'tenant_deleted')
    })
  }

  list(page: PageRequest): Promise<TenantPage> {
    return this.#tenants.list(page)
  }

  open(id: string): TenantStore | Promise<TenantStore> {
    if (this.#lost.size > 0 && this.#lost.has(id)) throw lost(id)
    return this.#tenants.open(id)
  }

  verify(id: string, options: VerifyOptions): Promise<Findings> {
    return this.#tenants.verify(id, options)
  }

  /** With those of lost tenants, and the control plane's own. */
  async files(): Promise<FileStatus[]> {
    const files = await this.#tenants.files()
    const known = new Set(files.map(({ path: known }) => known))
    const lost = await Promise.all(Array.from(this.#lost, (tenant) => this.#fileOf(tenant)))
    const missing = lost.filter((status): status is FileStatus => status !== undefined && !known.has(status.path))
    const all = [...files, ...missing, await this.#control.status()]
    return all.map((status) => this.#control.files.annotate(status))
  }

  stats(): TenantStats {
    return this.#tenants.stats()
  }

  close(): Promise<void> {
    return this.#tenants.close()
  }

  /** The tenants that had no record, or none that said so. */
  async #reconcileTenants(): Promise<string[]> {
    const there = new Set(await this.#tenants.ids())
    for (const [id, state] of this.#records.all()) {
      if (state === 'deleting') {
        if (there.delete(id)) await this.#tenants.delete(id)
        await this.#records.forget(id, 'tenant_deletion_finished')
      } else if (!there.has(id)) await this.#settleMissing(id, state)
    }
    const unrecorded = [...there].filter((id) => this.#records.stateOf(id) !== 'active').sort()
    for (const id of unrecorded) {
      if (this.#records.stateOf(id) === 'lost') this.#warn(`tenant ${id} was lost, and is there again`)
    }
    await this.#records.adopt(unrecorded)
    return unrecorded
  }

  /** What the disk shows of a tenant's file, of which only the manifest is read; undefined if it has none. */
  async #fileOf(tenant: string): Promise<FileStatus | undefined> {
    const subject = subjectOf(this.name, tenant)
    if (subject === undefined) return undefined
    const served = this.#control.isEncrypted ? 'encrypted' : 'plaintext'
    return readFileStatus(path.join(this.#dataDir, servedName(subject)), { expected: subject, served })
  }

  #subjectText(tenant: string): string {
    const subject = subjectOf(this.name, tenant)
    return subject === undefined ? `tenant:${tenant}` : describe(subject)
  }

  async #settleMissing(id: string, state: 'creating' | 'active' | 'lost'): Promise<void> {
    if (state === 'creating') {
      await this.#records.forget(id, 'tenant_creation_undone')
      return
    }
    if (state === 'active') await this.#records.lose(id)
    this.#lost.add(id)
    this.#warn(`${lost(id).message}: ${lost(id).remediation}`)
  }

  /** What cannot be taken back now, the next start settles: the error to report is the one before. */
  async #giveUp(id: string, isMade: boolean): Promise<void> {
    try {
      if (isMade) await this.#tenants.delete(id)
      await this.#records.forget(id, 'tenant_creation_undone')
    } catch (error) {
      this.#warn(`the creation of tenant ${id} could not be undone: ${messageOf(error)}`)
    }
  }

  /** A deletion that failed before the tenant was touched has not happened; any other is finished by the next start. */
  async #keep(id: string): Promise<void> {
    try {
      if ((await this.#tenants.ids()).includes(id)) await this.#records.cancelDeletion(id)
    } catch (error) {
      this.#warn(`the record of tenant ${id} still says that it is being deleted: ${messageOf(error)}`)
    }
  }
}

const FAMILIES = {
  sqlite: 'sqlite_tenant',
  redb: 'redb_tenant',
  'libsql-replica': 'libsql_cache',
  postgres: undefined,
  mysql: undefined,
} as const satisfies Record<TenantProvider['name'], FileSubject['family'] | undefined>

/** Whose file is a tenant's; those of external databases have none. */
export function subjectOf(provider: TenantProvider['name'], tenant: string): FileSubject | undefined {
  const family = FAMILIES[provider]
  return family && { family, tenant }
}

function lost(id: string): NimbusError {
  return new NimbusError('data_missing', `tenant ${id} is recorded, and its database is gone`, {
    remediation: `Restore its files from a backup and start again, or accept the loss: DELETE /api/tenants/${id}.`,
  })
}

function lostExists(id: string): NimbusError {
  const { message, remediation } = lost(id)
  return new NimbusError('tenant_exists', message, { remediation })
}

function tenantExists(id: string): NimbusError {
  return new NimbusError('tenant_exists', `tenant ${id} exists already`)
}

function tenantNotFound(id: string): NimbusError {
  return new NimbusError('tenant_not_found', `there is no tenant ${id}`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
