/** The control plane: what a server knows of its tenants, tokens, files and past, in one file and in memory. */
import { type FileStatus, openFileOf, readFileStatus } from '../encryption/status.js'
import type { RotationEnd } from '../encryption/settle-rotation.js'
import { describe } from '../keys/subject.js'
import type { Findings, VerifyOptions } from '../native.js'
import { EventLog } from './events.js'
import { CONTROL_PLANE, type ControlFileOptions, createControlStore, findControlStore } from './file.js'
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
  readonly isEncrypted: boolean

  private constructor(store: ControlStore, isEncrypted: boolean) {
    this.path = store.path
    this.#store = store
    this.isEncrypted = isEncrypted
    this.events = EventLog.load(store)
    this.files = FileRecords.load(store, this.events)
    this.tokens = TokenRecords.load(store, this.events)
  }

  /** @throws what `findControlStore` throws; `file_corrupt` for rows that nimbus does not write */
  static async find(options: ControlFileOptions): Promise<ControlPlane | undefined> {
    const store = await findControlStore(options)
    return store && ControlPlane.#load(store, options)
  }

  /** @throws what `createControlStore` throws */
  static async create(options: ControlFileOptions): Promise<ControlPlane> {
    return ControlPlane.#load(await createControlStore(options), options)
  }

  static async #load(store: ControlStore, { keys }: ControlFileOptions): Promise<ControlPlane> {
    try {
      return new ControlPlane(store, keys !== undefined)
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

  /** Whether all that happened to its own file is that it was made, encrypted. */
  get isAsMade(): boolean {
    const newest = this.events.newestOf(describe(CONTROL_PLANE))
    return newest?.event === 'control_plane_created' && newest.note === 'encrypted'
  }

  /** A start that failed because of a file or its key; nothing fails because this cannot be written. */
  async recordRefusal(code: string, path: string): Promise<void> {
    await Promise.allSettled([this.#store.commit(() => this.events.recordOnce('start_refused', path, code))])
  }

  /** How a rotation of a DEK ended that a start found interrupted. */
  async recordRotation(subject: string, end: RotationEnd): Promise<void> {
    await this.#store.commit(() => [this.events.record('rotation_settled', subject, end)])
  }

  /** The control plane's own file, without opening it again. */
  async status(): Promise<FileStatus> {
    const served = this.isEncrypted ? 'encrypted' : 'plaintext'
    const status = await readFileStatus(this.path, { expected: CONTROL_PLANE, served })
    return { ...status, open: openFileOf(this.#store.stats) }
  }

  /** Authenticates every page of its own file, which is encrypted, while it is used. */
  verify(options: VerifyOptions): Promise<Findings> {
    return this.#store.verify(options)
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
