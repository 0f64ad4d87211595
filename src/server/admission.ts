/** Load shedding: how much work the server takes on at a time, so that memory stays bounded under any load. */
import { NimbusError } from '../errors.js'

export interface AdmissionLimits {
  /** Requests that have been admitted and whose answer has not left yet. */
  readonly requests: number
  /** Bytes of the bodies and answers of those requests. */
  readonly bytes: number
  /** Bytes of writes that wait for a group commit. */
  readonly queuedBytes: number
}

export const DEFAULT_LIMITS: AdmissionLimits = {
  requests: 4096,
  bytes: 64 * 1024 * 1024,
  queuedBytes: 64 * 1024 * 1024,
}

/** Sent with every `overloaded`: group commits clear their queue in well under this. */
export const RETRY_AFTER_SECONDS = 1

const QUEUE_SAMPLE_MS = 5

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #readQueuedBytes: () => number
  #requests = 0
  #bytes = 0
  #shed = 0
  #queuedBytes = 0
  #sampledAt = Number.NEGATIVE_INFINITY

  constructor(limits: AdmissionLimits, readQueuedBytes: () => number) {
    this.#limits = limits
    this.#readQueuedBytes = readQueuedBytes
  }

  get requests(): number {
    return this.#requests
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Requests refused so far. */
  get shed(): number {
    return this.#shed
  }

  /** Admits a request whose body has `bodyBytes`, or throws `overloaded`. `now` in milliseconds. */
  enter(bodyBytes: number, now: number): void {
    const { requests, bytes, queuedBytes } = this.#limits
    const full = this.#requests >= requests || this.#bytes + bodyBytes > bytes || this.#sampleQueue(now) > queuedBytes
    if (full) {
      this.#shed++
      throw new NimbusError('overloaded', 'the server takes on no more work at the moment')
    }
    this.#requests++
    this.#bytes += bodyBytes
  }

  /** Counts an answer that an admitted request is about to send: a slow reader keeps it in memory. */
  hold(answerBytes: number): void {
    this.#bytes += answerBytes
  }

  /** Ends an admitted request; `bytes` is what it entered with and held. */
  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
  }

  /** Asking every open tenant costs more than a request should pay, so the answer is kept for a moment. */
  #sampleQueue(now: number): number {
    if (now - this.#sampledAt < QUEUE_SAMPLE_MS) return this.#queuedBytes
    this.#sampledAt = now
    this.#queuedBytes = this.#readQueuedBytes()
    return this.#queuedBytes
  }
}
