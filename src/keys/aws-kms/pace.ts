/** How calls to a KMS are spread over time: a few at once, slower while it throttles, each tried again within its time. */
import { setTimeout as sleep } from 'node:timers/promises'

/** All in milliseconds. */
export interface Times {
  /** For one attempt. */
  readonly attempt: number
  /** For a call with all its attempts and the waiting between them. */
  readonly call: number
  /** The most that is waited before the second attempt; doubled for each further one, up to `longestWait`. */
  readonly firstWait: number
  readonly longestWait: number
}

export const TIMES: Times = { attempt: 10_000, call: 60_000, firstWait: 100, longestWait: 5_000 }

const AT_ONCE = 20
/** Of a KMS that cannot be reached; one that throttles is asked until the time of the call is over. */
const ATTEMPTS = 5
const LEAST_SPACING_MS = 2
const MOST_SPACING_MS = 250
/** A throttled attempt doubles the spacing; each good one makes it smaller by a twentieth. */
const RECOVERY = 0.95

export type Verdict = 'throttled' | 'again' | 'final'

/**
 * Runs calls, at most 20 at once. While the KMS throttles, the starts of attempts are spaced out for all callers together, so that a
 * thousand tenants that open at once ask at the rate that the KMS allows; a call that waits for its next attempt keeps its place.
 */
export class Pace {
  readonly #times: Times
  #free = AT_ONCE
  readonly #waiting: (() => void)[] = []
  #spacingMs = 0
  #nextStartMs = 0
  #slowedAtMs = 0

  constructor(times: Times) {
    this.#times = times
  }

  /** `judge` says what an attempt's error means. @throws the last attempt's error */
  async run<T>(attempt: (signal: AbortSignal) => Promise<T>, judge: (thrown: unknown) => Verdict): Promise<T> {
    const endMs = performance.now() + this.#times.call
    await this.#enter()
    try {
      for (let attempts = 1; ; attempts++) {
        const startedMs = await this.#turn()
        try {
          const result = await attempt(AbortSignal.timeout(this.#times.attempt))
          this.#spacingMs = this.#spacingMs < LEAST_SPACING_MS ? 0 : this.#spacingMs * RECOVERY
          return result
        } catch (thrown) {
          const verdict = judge(thrown)
          if (verdict === 'throttled') this.#slowDown(startedMs)
          const isLast = verdict === 'final' || (verdict === 'again' && attempts >= ATTEMPTS)
          const waitMs = this.#wait(attempts)
          if (isLast || performance.now() + waitMs > endMs) throw thrown
          await sleep(waitMs)
        }
      }
    } finally {
      this.#leave()
    }
  }

  /** Full jitter: anything up to the bound, so that callers who failed together do not come back together. */
  #wait(attempts: number): number {
    return Math.random() * Math.min(this.#times.longestWait, this.#times.firstWait * 2 ** (attempts - 1))
  }

  /** Once for all attempts that were under way when it was last slowed down: together they are one message. */
  #slowDown(startedMs: number): void {
    if (startedMs < this.#slowedAtMs) return
    this.#slowedAtMs = performance.now()
    this.#spacingMs = Math.min(MOST_SPACING_MS, Math.max(LEAST_SPACING_MS, this.#spacingMs * 2))
  }

  /** When the attempt started, in the end. */
  async #turn(): Promise<number> {
    const nowMs = performance.now()
    const startMs = Math.max(nowMs, this.#nextStartMs)
    this.#nextStartMs = startMs + this.#spacingMs
    if (startMs > nowMs) await sleep(startMs - nowMs)
    return performance.now()
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** The place goes to whoever has waited longest. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free += 1
    else next()
  }
}
