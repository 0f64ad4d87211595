/** Which tenants are open: at their first use, at most so many at once, until they have been idle for a while. */
import { NimbusError } from '../../errors.js'
import { Signal } from '../locks.js'

export interface PoolOptions<T> {
  readonly open: (id: string) => Promise<T>
  readonly close: (opened: T) => Promise<void>
  /** Whether it may be used no more, and is to be opened anew as soon as those who use it have left. */
  readonly isSpent: (opened: T) => boolean
  /** Reached only while all of them are in use; the next one then waits for the first that is not. */
  readonly maxOpen: number
  readonly idleMs: number
}

interface Entry<T> {
  readonly opening: Promise<T>
  opened: T | undefined
  users: number
  visitors: number
  /** `NEVER_MS` of one that was opened for a visitor, and that nobody has used since. */
  lastUsedMs: number
  /** Set as soon as nobody may begin to use it any more. */
  closing: Promise<void> | undefined
}

const NEVER_MS = -Infinity

/** Opens, shares and closes; what is opened is used only within `use`, so it is never closed under anybody but visitors. */
export class Pool<T> {
  readonly #options: PoolOptions<T>
  readonly #entries = new Map<string, Entry<T>>()
  /** There is one while somebody waits for an entry to become closable. */
  #released: Signal | undefined
  #sweeper: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(options: PoolOptions<T>) {
    this.#options = options
  }

  /** How many are open or being opened or closed. */
  get size(): number {
    return this.#entries.size
  }

  /** What is open now. */
  *opened(): Generator<[id: string, opened: T]> {
    for (const [id, { opened }] of this.#entries) if (opened !== undefined) yield [id, opened]
  }

  /** The tenant if it is open, for work that is done before control returns to the event loop. */
  peek(id: string): T | undefined {
    const entry = this.#entries.get(id)
    if (entry?.opened === undefined || entry.closing !== undefined || this.#isSpent(entry)) return undefined
    entry.lastUsedMs = performance.now()
    return entry.opened
  }

  /** Runs `work` on the tenant, opening it if need be. @throws `shutting_down` after `close`, and what opening it throws */
  async use<R>(id: string, work: (opened: T) => Promise<R>): Promise<R> {
    const entry = await this.#acquire(id, 'users')
    try {
      return await work(await entry.opening)
    } finally {
      entry.users -= 1
      entry.lastUsedMs = performance.now()
      if (isUnused(entry) && this.#isSpent(entry)) void this.#close(id, entry)
      this.#notifyReleased()
    }
  }

  /**
   * As `use`, for long work that no request waits for. It keeps the tenant from being closed to make room, and from nothing else:
   * where it has to be opened anew or is evicted, it is closed under the work, which is to end by itself then. A tenant that was
   * opened for it, and that nobody has used since, is closed after it.
   */
  async visit<R>(id: string, work: (opened: T) => Promise<R>): Promise<R> {
    const entry = await this.#acquire(id, 'visitors')
    try {
      return await work(await entry.opening)
    } finally {
      entry.visitors -= 1
      if (isIdle(entry) && (entry.lastUsedMs === NEVER_MS || this.#isSpent(entry))) void this.#close(id, entry)
      this.#notifyReleased()
    }
  }

  /** Waits for the tenant's users to leave, then closes it. The caller keeps new ones away. */
  async evict(id: string): Promise<void> {
    for (let entry = this.#entries.get(id); entry !== undefined; entry = this.#entries.get(id)) {
      if (entry.closing !== undefined) await entry.closing
      else if (entry.users > 0) await this.#release()
      else await this.#close(id, entry)
    }
  }

  /** Lets running work finish, then closes everything. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#sweeper)
    await Promise.all(Array.from(this.#entries.keys(), (id) => this.evict(id)))
  }

  /** An entry with one more user or visitor. */
  async #acquire(id: string, as: 'users' | 'visitors'): Promise<Entry<T>> {
    for (;;) {
      if (this.#isClosed) throw new NimbusError('shutting_down', 'the server is stopping')
      const entry = this.#entries.get(id)
      if (entry?.closing !== undefined) await entry.closing
      else if (entry !== undefined && this.#isSpent(entry)) await this.#renew(id, entry)
      else if (entry !== undefined) return joined(entry, as)
      else if (this.#entries.size < this.#options.maxOpen)
        return joined(this.#open(id, as === 'users' ? performance.now() : NEVER_MS), as)
      else await this.#makeRoom()
    }
  }

  #open(id: string, lastUsedMs: number): Entry<T> {
    const entry: Entry<T> = {
      opening: this.#options.open(id),
      opened: undefined,
      users: 0,
      visitors: 0,
      lastUsedMs,
      closing: undefined,
    }
    this.#entries.set(id, entry)
    entry.opening.then(
      (opened) => {
        entry.opened = opened
      },
      () => {
        this.#entries.delete(id)
        this.#notifyReleased()
      },
    )
    this.#sweeper ??= setInterval(() => void this.#closeIdle(), this.#options.idleMs / 5).unref()
    return entry
  }

  /** Closes the one that was not used for longest, or waits until one is not in use. */
  async #makeRoom(): Promise<void> {
    let oldest: [string, Entry<T>] | undefined
    for (const candidate of this.#entries) {
      const [, entry] = candidate
      if (!isIdle(entry)) continue
      if (oldest === undefined || entry.lastUsedMs < oldest[1].lastUsedMs) oldest = candidate
    }
    await (oldest === undefined ? this.#release() : this.#close(...oldest))
  }

  async #closeIdle(): Promise<void> {
    const before = performance.now() - this.#options.idleMs
    const idle = [...this.#entries].filter(([, entry]) => isIdle(entry) && entry.lastUsedMs < before)
    await Promise.all(idle.map(([id, entry]) => this.#close(id, entry)))
  }

  /** Never rejects: what a store could not fold into its file lies in its log, durable, and whoever opens it next reads it. */
  #close(id: string, entry: Entry<T>): Promise<void> {
    entry.closing = (async () => {
      await Promise.allSettled([entry.opening.then((opened) => this.#options.close(opened))])
      this.#entries.delete(id)
      this.#notifyReleased()
    })()
    return entry.closing
  }

  /** Who only peeks is no user: what is spent by a peek may have nobody who leaves it. */
  #renew(id: string, entry: Entry<T>): Promise<void> {
    return isUnused(entry) ? this.#close(id, entry) : this.#release()
  }

  #isSpent({ opened }: Entry<T>): boolean {
    return opened !== undefined && this.#options.isSpent(opened)
  }

  #release(): Promise<void> {
    this.#released ??= new Signal()
    return this.#released.fired
  }

  #notifyReleased(): void {
    this.#released?.fire()
    this.#released = undefined
  }
}

function joined<T>(entry: Entry<T>, as: 'users' | 'visitors'): Entry<T> {
  entry[as] += 1
  return entry
}

function isUnused<T>(entry: Entry<T>): boolean {
  return entry.users === 0 && entry.opened !== undefined && entry.closing === undefined
}

function isIdle<T>(entry: Entry<T>): boolean {
  return isUnused(entry) && entry.visitors === 0
}
