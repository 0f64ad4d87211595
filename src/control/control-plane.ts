/** The control plane: what a server knows of its tenants, tokens, files and past, in one file and in memory. */
import { type FileStatus, readFileStatus } from '../encryption/status.js'
import { EventLog } from './events.js'
import { CONTROL_PLANE, type ControlFileOptions, openControlStore } from './file.js'
import { FileRecords } from './files.js'
import type { ControlStore } from './store.js'
import { TenantRecords } from './tenants.js'
import { TokenRecords } from './tokens.js'

/** Everything in it is read once, at the start, and kept in memory; every change is in the file before it counts. */
export class ControlPlane {
  readonly path: string
  readonly events: EventLog
  readonly files: FileRecords
  readonly tokens: TokenRecords
  readonly #store: ControlStore
  readonly #isEncrypted: boolean

  private constructor(store: ControlStore, isEncrypted: boolean) {
    this.path = store.path
    this.#store = store
    this.#isEncrypted = isEncrypted
    this.events = EventLog.load(store)
    this.files = FileRecords.load(store, this.events)
    this.tokens = TokenRecords.load(store, this.events)
  }

  /** @throws what `openControlStore` throws; `file_corrupt` for rows that nimbus does not write */
  static async open(options: ControlFileOptions): Promise<ControlPlane> {
    const { store, isNew } = await openControlStore(options)
    try {
      const plane = new ControlPlane(store, options.keys !== undefined)
      if (isNew) await store.commit([plane.events.record('control_plane_created', 'db:redb:control:nimbus-control.db')])
      return plane
    } catch (error) {
      await Promise.allSettled([store.close()])
      throw error
    }
  }

  /** `subjectOf` names a tenant of this provider in events and file records. */
  tenantsOf(provider: string, subjectOf: (tenant: string) => string): TenantRecords {
    const { events, files, tokens } = this
    return TenantRecords.load(this.#store, { events, files, tokens }, provider, subjectOf)
  }

  /** A start that failed because of a file or its key; nothing fails because this cannot be written. */
  async recordRefusal(code: string, path: string): Promise<void> {
    await Promise.allSettled([this.#store.commit([this.events.record('start_refused', path, code)])])
  }

  /** The control plane's own file, without opening it. */
  status(): Promise<FileStatus> {
    return readFileStatus(this.path, {
      expected: CONTROL_PLANE,
      served: this.#isEncrypted ? 'encrypted' : 'plaintext',
    })
  }

  get stats(): ControlStore['stats'] {
    return this.#store.stats
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
