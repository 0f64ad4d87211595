/**
 * Which tenants there are, apart from the directory or server that holds them: so that one that vanishes is missed.
 *
 * A tenant is made and removed in two places. Every line is durable before the next begins; what a start finds is settled by
 * `src/server/recorded-tenants.ts`:
 *
 * | stopped after                | recorded   | the tenant               | the next start                                 |
 * |------------------------------|------------|--------------------------|------------------------------------------------|
 * | `beginCreation`              | `creating` | none, or settled away    | removes the record: `tenant_creation_undone`   |
 * | the tenant is made           | `creating` | whole                    | keeps it: `tenant_creation_finished`           |
 * | `finishCreation`             | `active`   | whole                    | serves it                                      |
 * | `beginDeletion`              | `deleting` | whole, in part or none   | deletes it, then the record: `tenant_deletion_finished` |
 * | the tenant is removed        | `deleting` | none                     | removes the record: `tenant_deletion_finished` |
 * | `forget`                     | none       | none                     | knows no such tenant                           |
 *
 * What no interrupted step explains is never guessed about, and nothing is deleted for it:
 *
 * | recorded   | the tenant | the start                                                                                  |
 * |------------|------------|--------------------------------------------------------------------------------------------|
 * | none       | whole      | records and serves it: `tenant_found`                                                      |
 * | `active`   | none       | records the loss, `lost`, and serves the others: `tenant_lost`. Its id stays taken          |
 * | `lost`     | whole      | serves it: `tenant_restored`                                                               |
 * | `lost`     | none       | warns again, until somebody deletes the tenant: `tenant_loss_accepted`                     |
 */
import { isTenantId } from '../keys/subject.js'
import type { SeenFile } from '../encryption/status.js'
import type { ControlEvent, EventLog } from './events.js'
import type { FileRecords } from './files.js'
import { type Change, type ControlStore, type Plan, isTime, oneOf, orNull, planOf, rowOf } from './store.js'
import type { TokenRecords } from './tokens.js'

export type TenantState = 'creating' | 'active' | 'deleting' | 'lost'

export interface TenantRecord {
  readonly state: TenantState
  /** Null for a tenant that was found, and for one that is being created. RFC 3339, UTC. */
  readonly created_at: string | null
  readonly recorded_at: string
}

/** What of the control plane speaks of tenants, and is changed together with their records. */
export interface TenantRecordsParts {
  readonly events: EventLog
  readonly files: FileRecords
  readonly tokens: TokenRecords
}

/** The records of one tenant provider. Those of others are another's: a change of the provider loses nothing. */
export class TenantRecords {
  readonly #store: ControlStore
  readonly #parts: TenantRecordsParts
  readonly #provider: string
  readonly #subjectOf: (tenant: string) => string
  readonly #records: Map<string, TenantRecord>

  private constructor(
    store: ControlStore,
    parts: TenantRecordsParts,
    provider: string,
    subjectOf: (tenant: string) => string,
  ) {
    this.#store = store
    this.#parts = parts
    this.#provider = provider
    this.#subjectOf = subjectOf
    const rows = store.load('tenants', parseTenant).map(([key, row]): [string, TenantRecord] => [key.toString(), row])
    const mine = rows.filter(([key]) => key.startsWith(`${provider}/`) && isTenantId(key.slice(provider.length + 1)))
    this.#records = new Map(mine.map(([key, record]) => [key.slice(provider.length + 1), record]))
  }

  /** `subjectOf` names a tenant in events and file records: its descriptor, if it has a file. */
  static load(
    store: ControlStore,
    parts: TenantRecordsParts,
    provider: string,
    subjectOf: (tenant: string) => string,
  ): TenantRecords {
    return new TenantRecords(store, parts, provider, subjectOf)
  }

  stateOf(tenant: string): TenantState | undefined {
    return this.#records.get(tenant)?.state
  }

  /** In order of id. */
  all(): [tenant: string, state: TenantState][] {
    return [...this.#records].map(([tenant, { state }]): [string, TenantState] => [tenant, state]).sort(byId)
  }

  async beginCreation(tenant: string): Promise<void> {
    await this.#store.commit(() => [this.#put(tenant, 'creating', null)])
  }

  /** `file` is what is seen of its file, if it has one. */
  async finishCreation(tenant: string, createdAtMs: number, file?: SeenFile): Promise<void> {
    const { events, files } = this.#parts
    await this.#store.commit(() => [
      this.#put(tenant, 'active', new Date(createdAtMs).toISOString()),
      events.record('tenant_created', this.#subjectOf(tenant)),
      ...(file === undefined ? [] : files.created(file)),
    ])
  }

  async beginDeletion(tenant: string): Promise<void> {
    await this.#store.commit(() => [this.#put(tenant, 'deleting', this.#createdAt(tenant))])
  }

  /** The deletion could not begin: the tenant is as it was. */
  async cancelDeletion(tenant: string): Promise<void> {
    await this.#store.commit(() => [this.#put(tenant, 'active', this.#createdAt(tenant))])
  }

  /** The tenant is gone. Tokens lose it from their scope, so that they do not reach another of its name. */
  async forget(tenant: string, why: Forgotten): Promise<void> {
    const { events, files, tokens } = this.#parts
    const subject = this.#subjectOf(tenant)
    const removal: Plan = {
      changes: [this.#change(tenant, null)],
      apply: () => {
        this.#records.delete(tenant)
      },
    }
    await this.#store.commit(() => [
      removal,
      events.record(why, subject),
      files.forget(subject),
      tokens.without(tenant),
    ])
  }

  /** Tenants that are there, and were not recorded as such. */
  async adopt(tenants: readonly string[]): Promise<void> {
    await this.#store.commit(() =>
      tenants.flatMap((tenant) => {
        const event = ADOPTIONS[this.stateOf(tenant) ?? 'none']
        return [
          this.#put(tenant, 'active', this.#createdAt(tenant)),
          this.#parts.events.record(event, this.#subjectOf(tenant)),
        ]
      }),
    )
  }

  async lose(tenant: string): Promise<void> {
    await this.#store.commit(() => [
      this.#put(tenant, 'lost', this.#createdAt(tenant)),
      this.#parts.events.record('tenant_lost', this.#subjectOf(tenant)),
    ])
  }

  #put(tenant: string, state: TenantState, createdAt: string | null): Plan {
    const record = { state, created_at: createdAt, recorded_at: new Date().toISOString() }
    return planOf(this.#change(tenant, record), () => {
      this.#records.set(tenant, record)
    })
  }

  #createdAt(tenant: string): string | null {
    return this.#records.get(tenant)?.created_at ?? null
  }

  #change(tenant: string, value: TenantRecord | null): Change {
    return { table: 'tenants', key: `${this.#provider}/${tenant}`, value }
  }
}

/** Why a record goes. */
export type Forgotten =
  'tenant_deleted' | 'tenant_deletion_finished' | 'tenant_creation_undone' | 'tenant_loss_accepted'

/** What it means that a tenant is there, by what was recorded of it. */
const ADOPTIONS = {
  none: 'tenant_found',
  creating: 'tenant_creation_finished',
  active: 'tenant_found',
  deleting: 'tenant_found',
  lost: 'tenant_restored',
} as const satisfies Record<TenantState | 'none', ControlEvent['event']>

function byId([one]: [string, unknown], [other]: [string, unknown]): number {
  return one < other ? -1 : 1
}

function parseTenant(value: unknown): TenantRecord | undefined {
  return rowOf<TenantRecord>(value, {
    state: oneOf('creating', 'active', 'deleting', 'lost'),
    created_at: orNull(isTime),
    recorded_at: isTime,
  })
}
