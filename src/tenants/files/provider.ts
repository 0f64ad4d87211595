/** Tenants as files of one directory, encrypted or plain, whatever their engine: the directory is the list of tenants. */
import { mapBounded } from '../../encryption/bounded.js'
import { readDirectoryStatus } from '../../encryption/directory.js'
import type { RotationEnd } from '../../encryption/settle-rotation.js'
import type { FileStatus, OpenFile, SeenFile } from '../../encryption/status.js'
import { NimbusError } from '../../errors.js'
import type { Profile } from '../../keys/profile.js'
import type { KeyProvider } from '../../keys/provider.js'
import { isTenantId, parseTenantId } from '../../keys/subject.js'
import { type Findings, type VerifyOptions, createDirectory } from '../../native.js'
import type { PageRequest, TenantInfo, TenantPage, TenantProvider, TenantStats } from '../contract.js'
import { decodeCursor, encodeCursor, invalidCursor } from '../cursor.js'
import { Documents } from '../documents.js'
import { KeyedLocks } from '../locks.js'
import { checkLimit } from '../query.js'
import type { Engine, ServedTenant } from './engine.js'
import { Pool } from './pool.js'
import { checkDirectory } from './start.js'
import { type Encryption, TenantFile } from './tenant-file.js'

export interface FileProviderOptions {
  /** Made if it is missing. The caller holds its lock, so that from `start` to `close` no other process uses it. */
  readonly directory: string
  /** Left out, every file is plain. Stays the caller's to close. */
  readonly keys?: KeyProvider | undefined
  /** Told how a rotation of a DEK ended that a start found interrupted. */
  readonly onRotation?: ((path: string, end: RotationEnd) => void) | undefined
  /** Of the files that are created encrypted; those that exist keep theirs. */
  readonly profile?: Profile | undefined
  /** 256 if left out. */
  readonly maxOpenTenants?: number | undefined
  /** A tenant that was not used for so long is closed; 5 minutes if left out. */
  readonly idleMs?: number | undefined
}

const MAX_OPEN_TENANTS = 256
const IDLE_MS = 5 * 60_000
const LIST_SHAPE = ['tenants']
const READS_AT_A_TIME = 8
/** A tenant whose requests meet damage is opened anew each time. */
const VERIFY_ATTEMPTS = 5

interface KnownTenant {
  readonly documents: Documents
  createdAt: number | undefined
}

export class FileProvider implements TenantProvider {
  readonly name: TenantProvider['name']
  readonly #engine: Engine
  readonly #directory: string
  readonly #encryption: Encryption | undefined
  readonly #onRotation: FileProviderOptions['onRotation']
  readonly #pool: Pool<ServedTenant>
  readonly #tenants = new Map<string, KnownTenant>()
  /** One creation or deletion of a tenant at a time. */
  readonly #lives = new KeyedLocks()
  readonly #closed = { commits: 0, requests: 0 }
  #isServing = false

  constructor(engine: Engine, options: FileProviderOptions) {
    const { directory, keys, profile, maxOpenTenants, idleMs, onRotation } = options
    this.#onRotation = onRotation
    this.name = engine.name
    this.#engine = engine
    this.#directory = directory
    this.#encryption = keys && { keys, profile: profile ?? engine.profile }
    this.#pool = new Pool({
      open: (id) => this.#openTenant(id),
      close: (tenant) => this.#closeTenant(tenant),
      isSpent: ({ isSpent }) => isSpent,
      maxOpen: maxOpenTenants ?? MAX_OPEN_TENANTS,
      idleMs: idleMs ?? IDLE_MS,
    })
  }

  async start(): Promise<SeenFile[]> {
    createDirectory(this.#directory)
    this.#engine.start()
    const found = await checkDirectory(this.#engine, this.#directory, this.#encryption?.keys, this.#onRotation)
    for (const { tenant, createdAt } of found) this.#add(tenant, createdAt)
    this.#isServing = true
    return found.map(({ seen }) => seen)
  }

  ids(): string[] {
    return [...this.#tenants.keys()]
  }

  async create(id: string): Promise<TenantInfo> {
    const file = this.#fileOf(parseTenantId(id))
    return this.#lives.run([id], async () => {
      this.#requireOpen()
      if (this.#tenants.has(id)) throw new NimbusError('tenant_exists', `tenant ${id} exists already`)
      const createdAt = await file.create()
      this.#add(id, createdAt)
      return this.#infoOf(id, createdAt)
    })
  }

  async delete(id: string): Promise<void> {
    const file = this.#fileOf(parseTenantId(id))
    await this.#lives.run([id], async () => {
      this.#requireOpen()
      this.#known(id)
      const remove = await file.markDeleting()
      this.#tenants.delete(id)
      await this.#pool.evict(id)
      await remove()
    })
  }

  async list({ limit, after }: PageRequest): Promise<TenantPage> {
    this.#requireOpen()
    const most = checkLimit(limit, 'limit')
    const last = after === undefined ? '' : decodeTenant(after)
    const ids = [...this.#tenants.keys()].filter((id) => id > last).sort()
    const page = ids.slice(0, most)
    const infos = await mapBounded(page, READS_AT_A_TIME, (id) => this.#readInfo(id))
    const end = page.at(-1)
    return {
      tenants: infos.filter((info) => info !== undefined),
      nextCursor: ids.length > most && end !== undefined ? encodeCursor(LIST_SHAPE, end) : null,
    }
  }

  open(id: string): Documents {
    return this.#known(parseTenantId(id)).documents
  }

  async verify(id: string, options: VerifyOptions): Promise<Findings> {
    parseTenantId(id)
    if (this.#encryption === undefined) {
      throw new NimbusError(
        'encryption_not_configured',
        `tenant ${id} is not encrypted: there is nothing to authenticate`,
      )
    }
    for (let left = VERIFY_ATTEMPTS; ; left--) {
      this.#requireOpen()
      this.#known(id)
      try {
        return await this.#pool.visit(id, (tenant) => tenant.verify(options))
      } catch (error) {
        options.signal?.throwIfAborted()
        // Closed under the verification, because it was deleted or had to be opened anew.
        if (!(error instanceof NimbusError) || error.code !== 'shutting_down' || left === 1) throw error
      }
    }
  }

  async files(): Promise<FileStatus[]> {
    const served = this.#encryption === undefined ? 'plaintext' : 'encrypted'
    const files = await readDirectoryStatus([{ path: this.#directory, holds: 'tenants' }], served)
    const open = new Map<string, OpenFile>()
    for (const [id, { openFile }] of this.#pool.opened())
      if (openFile !== undefined) open.set(this.#fileOf(id).path, openFile)
    return files.map((status) => withOpenFile(status, open.get(status.path)))
  }

  stats(): TenantStats {
    const total = { ...this.#closed, queued: 0, queuedBytes: 0 }
    for (const [, { stats }] of this.#pool.opened()) {
      const { commits, requests, queued, queuedBytes } = stats
      total.commits += commits
      total.requests += requests
      total.queued += queued
      total.queuedBytes += queuedBytes
    }
    return { tenants: this.#tenants.size, openTenants: this.#pool.size, ...total }
  }

  async close(): Promise<void> {
    this.#isServing = false
    await this.#pool.close()
  }

  #fileOf(id: string): TenantFile {
    return new TenantFile(this.#engine, this.#directory, id, this.#encryption)
  }

  #known(id: string): KnownTenant {
    const known = this.#tenants.get(id)
    if (known === undefined) throw tenantNotFound(id)
    return known
  }

  #add(id: string, createdAt: number | undefined): void {
    // A deleted tenant is not reached again, not even when another of its name has been created.
    const requireKnown = (): void => {
      if (this.#tenants.get(id)?.documents !== documents) throw tenantNotFound(id)
    }
    const documents = new Documents({
      use: async (work) => {
        requireKnown()
        return this.#pool.use(id, work)
      },
      peek: () => {
        requireKnown()
        return this.#pool.peek(id)
      },
    })
    this.#tenants.set(id, { documents, createdAt })
  }

  async #openTenant(id: string): Promise<ServedTenant> {
    this.#known(id)
    return this.#fileOf(id).open()
  }

  async #closeTenant(tenant: ServedTenant): Promise<void> {
    await tenant.close()
    const { commits, requests } = tenant.stats
    this.#closed.commits += commits
    this.#closed.requests += requests
  }

  /** `undefined` for a tenant that was deleted while the list was put together. */
  async #readInfo(id: string): Promise<TenantInfo | undefined> {
    const known = this.#tenants.get(id)
    if (known === undefined) return undefined
    known.createdAt ??= await this.#pool.use(id, async ({ createdAt }) => createdAt)
    return this.#infoOf(id, known.createdAt)
  }

  #infoOf(id: string, createdAt: number): TenantInfo {
    return { id, provider: this.name, encrypted: this.#encryption !== undefined, createdAt }
  }

  #requireOpen(): void {
    if (!this.#isServing) throw new NimbusError('shutting_down', 'the tenants are not being served')
  }
}

function withOpenFile(status: FileStatus, open: OpenFile | undefined): FileStatus {
  return open === undefined ? status : { ...status, open }
}

function decodeTenant(after: string): string {
  const id = decodeCursor(LIST_SHAPE, after)
  if (typeof id !== 'string' || !isTenantId(id)) throw invalidCursor()
  return id
}

function tenantNotFound(id: string): NimbusError {
  return new NimbusError('tenant_not_found', `there is no tenant ${id}`)
}
