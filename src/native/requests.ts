/** Requests that native threads answer: who waits for which, and that the process lives until they are answered. */
import type * as Addon from '../../index.js'
import { fromFailure, guard } from './failure.js'

interface Completion {
  readonly id: number
  readonly failure?: Addon.NativeFailure | undefined
}

interface Waiting<T> {
  resolve(completion: T): void
  reject(error: Error): void
}

/** The requests of one store. `settle` is for the addon, which calls it with all those that one commit answers. */
export class Requests<T extends Completion> {
  readonly #waiting = new Map<number, Waiting<T>>()
  #lastId = 0

  readonly settle = (completions: T[]): void => {
    for (const completion of completions) {
      const request = this.#waiting.get(completion.id)
      this.#waiting.delete(completion.id)
      keepAlive.release()
      if (completion.failure === undefined) request?.resolve(completion)
      else request?.reject(fromFailure(completion.failure))
    }
  }

  /** Calls `submit` with a new id; settled when that id comes back. */
  make(submit: (id: number) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId()
      this.#waiting.set(id, { resolve, reject })
      keepAlive.hold()
      try {
        guard(() => submit(id))
      } catch (thrown) {
        this.fail(id, thrown)
      }
    })
  }

  /** Rejects a request that was never submitted. */
  fail(id: number, thrown: unknown): void {
    const request = this.#waiting.get(id)
    this.#waiting.delete(id)
    keepAlive.release()
    request?.reject(thrown instanceof Error ? thrown : new Error(String(thrown)))
  }

  /** Ids are 32-bit and come round again after 4 billion requests; one still waiting is passed over. */
  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#waiting.has(this.#lastId))
    return this.#lastId
  }
}

/** Keeps the event loop alive while native threads work for somebody, and only then. */
export const keepAlive = {
  requests: 0,
  timer: undefined as NodeJS.Timeout | undefined,

  hold(): void {
    this.requests += 1
    this.timer ??= setInterval(() => undefined, 0x7fffffff)
    if (this.requests === 1) this.timer.ref()
  },

  release(): void {
    this.requests -= 1
    if (this.requests === 0) this.timer?.unref()
  },
}
