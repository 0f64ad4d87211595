/** The one writer of a tenant: whatever waits when a commit ends is planned, request by request, and committed together. */
import { NimbusError } from '../../errors.js'
import type { KvSnapshot, KvStore } from '../../native.js'
import type { Operation, OperationResult } from '../contract.js'
import { IdGenerator } from '../ids.js'
import { type Locate, TenantSpentError } from '../open-tenant.js'
import { Planner, insertedTables } from '../planner.js'
import { isSliceOver, nextSlice } from '../slices.js'
import type { Catalog } from './catalog.js'
import { Changes } from './changes.js'
import type { Faults } from './faults.js'
import { type Committed, RedbGround } from './ground.js'
import { parseDocumentKey } from './keys.js'
import { asBuffer } from './source.js'
import type { DocumentTable } from './table.js'

/** A batch ends with the request that reaches one of these; of fields, in characters, read and written. */
const MAX_BATCH_REQUESTS = 1_000
const MAX_BATCH_SIZE = 16 * 1_048_576

interface Request {
  readonly operations: readonly Operation[]
  readonly locate: Locate
  /** Of its fields, roughly. */
  readonly bytes: number
  readonly resolve: (results: OperationResult[]) => void
  readonly reject: (error: unknown) => void
}

/** A request that waits for the commit of its batch, and what it then comes to. */
interface Planned {
  readonly request: Request
  readonly results: OperationResult[]
  readonly failure: unknown
}

/**
 * No request is answered before its batch is durable, its failures too: they may come of what another request of the batch
 * changes. A commit that fails is the answer to all of its batch, and the tenant is spent; what still waits has done nothing.
 */
export class Writer {
  readonly #store: KvStore
  readonly #catalog: Catalog
  readonly #faults: Faults
  readonly #path: string
  readonly #ids = new Map<number, IdGenerator>()
  readonly #waiting: Request[] = []
  #isRunning = false
  #commits = 0
  #requests = 0
  #underWay = 0
  #bytes = 0

  constructor(store: KvStore, catalog: Catalog, faults: Faults, path: string) {
    this.#store = store
    this.#catalog = catalog
    this.#faults = faults
    this.#path = path
  }

  get stats(): { commits: number; requests: number; queued: number; queuedBytes: number } {
    const queued = this.#waiting.length + this.#underWay
    return { commits: this.#commits, requests: this.#requests, queued, queuedBytes: this.#bytes }
  }

  write(operations: readonly Operation[], locate: Locate): Promise<OperationResult[]> {
    return new Promise((resolve, reject) => {
      const bytes = operations.reduce((sum, operation) => sum + sizeOf(operation), 0)
      this.#waiting.push({ operations, locate, bytes, resolve, reject })
      this.#bytes += bytes
      if (this.#isRunning) return
      this.#isRunning = true
      // What arrives in this turn of the event loop shares the first commit already.
      setImmediate(() => void this.#run())
    })
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#commitBatch()
    this.#isRunning = false
  }

  async #commitBatch(): Promise<void> {
    const batch: Request[] = []
    let settle: () => void
    try {
      const changes = new Changes()
      const planned = await this.#plan(batch, changes)
      const { cause } = this.#faults
      if (cause === undefined) await this.#commit(changes, batch.length)
      settle = () => {
        for (const each of planned) answer(each, cause)
      }
    } catch (error) {
      const failure = this.#faults.ofWrite(error)
      if (batch.length === 0) batch.push(...this.#waiting.splice(0))
      settle = () => {
        for (const { reject } of batch) reject(failure)
      }
    }
    this.#underWay = 0
    for (const { bytes } of batch) this.#bytes -= bytes
    settle()
  }

  async #commit(changes: Changes, requests: number): Promise<void> {
    const operations = changes.operations()
    this.#requests += requests
    if (operations.length === 0) return
    await this.#store.write(operations)
    this.#commits += 1
    for (const table of changes.tables) this.#catalog.set(table)
  }

  /** Takes requests from the queue into `batch`, until it is full or reading fails. */
  async #plan(batch: Request[], changes: Changes): Promise<Planned[]> {
    const planned: Planned[] = []
    const snapshot = this.#snapshot()
    const committed: Committed = {
      snapshot,
      path: this.#path,
      find: (table) => this.#catalog.find(table),
      nextId: (table) => this.#idsOf(table, snapshot).next(),
    }
    try {
      for (let size = 0; batch.length < MAX_BATCH_REQUESTS && size < MAX_BATCH_SIZE;) {
        const request = this.#faults.cause === undefined ? this.#waiting.shift() : undefined
        if (request === undefined) break
        this.#underWay = batch.push(request)
        const ofRequest = new Changes(changes)
        const planner = new Planner(new RedbGround(committed, ofRequest), Date.now())
        const failure = await this.#planOne(request, planner, committed, ofRequest)
        if (failure === undefined) ofRequest.settle()
        planned.push({ request, results: planner.results, failure })
        size += planner.size
      }
    } finally {
      snapshot.close()
    }
    return planned
  }

  /** What the request fails with, if it does. */
  async #planOne(
    { operations, locate }: Request,
    planner: Planner<DocumentTable>,
    committed: Committed,
    changes: Changes,
  ): Promise<unknown> {
    try {
      for (const table of insertedTables(operations)) {
        if ((committed.find(table) ?? changes.findTable(table)) !== undefined) continue
        changes.addTable(this.#catalog.newTable(table, changes.tables.length))
      }
      for (const [index, operation] of operations.entries()) {
        if (isSliceOver()) await nextSlice()
        addAt(planner, operation, index, locate)
      }
      return undefined
    } catch (error) {
      return this.#faults.ofRead(error)
    }
  }

  #snapshot(): KvSnapshot {
    const { cause } = this.#faults
    if (cause !== undefined) throw new TenantSpentError(cause)
    try {
      return this.#store.snapshot()
    } catch (error) {
      throw this.#faults.ofRead(error)
    }
  }

  /** Its ids follow those in the file, also if the clock was ahead when they were made. */
  #idsOf(table: DocumentTable, snapshot: KvSnapshot): IdGenerator {
    let ids = this.#ids.get(table.number)
    if (ids === undefined) {
      ids = new IdGenerator()
      const newest = snapshot.range(table.docs, { reverse: true, limit: 1, mostBytes: 1 }).pairs[0]
      if (newest !== undefined) ids.skip(parseDocumentKey(asBuffer(newest[0])).ms)
      this.#ids.set(table.number, ids)
    }
    return ids
  }
}

/** Once reading has failed, nothing was committed: who met the damage is told of it, the others make their requests again. */
function answer({ request, results, failure }: Planned, cause: NimbusError | undefined): void {
  if (cause !== undefined) request.reject(isDamage(failure) ? failure : new TenantSpentError(cause))
  else if (failure !== undefined) request.reject(failure)
  else request.resolve(results)
}

function isDamage(failure: unknown): boolean {
  return failure instanceof NimbusError && failure.code === 'file_corrupt'
}

function addAt(planner: Planner<DocumentTable>, operation: Operation, index: number, locate: Locate): void {
  try {
    planner.add(operation)
  } catch (error) {
    throw error instanceof NimbusError ? locate(error, index) : error
  }
}

/** Of an operation's fields as JSON, without making it: strings by their length, the rest by a guess. */
function sizeOf(operation: Operation): number {
  return operation.op === 'delete' ? 0 : roughSize(operation.fields)
}

function roughSize(value: unknown): number {
  if (typeof value === 'string') return value.length + 2
  if (typeof value !== 'object' || value === null) return 8
  let size = 2
  for (const [name, member] of Object.entries(value)) size += name.length + 4 + roughSize(member)
  return size
}
