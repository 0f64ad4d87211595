/** Load shedding: how much work the server takes on at a time, so that memory stays bounded under any load. */
import { NimbusError } from '../errors.js'

export interface AdmissionLimits {
  /** Requests that have been admitted and whose answer has not left yet. */
  readonly requests: number
  /** Bytes of the bodies of those requests. Parsed and on its way to the disk, a body takes about ten times its size. */
  readonly bodyBytes: number
  /**
   * Bytes of answers that wait for their reader. From a half of it on no large read is begun, so that slow readers of large
   * answers cannot keep the server from giving small ones.
   */
  readonly answerBytes: number
  /** Bytes of writes that wait for a group commit. */
  readonly queuedBytes: number
}

const MEBIBYTE = 1024 * 1024

export const DEFAULT_LIMITS: AdmissionLimits = {
  requests: 4096,
  bodyBytes: 32 * MEBIBYTE,
  answerBytes: 256 * MEBIBYTE,
  queuedBytes: 32 * MEBIBYTE,
}

/** Sent with every `overloaded`: group commits clear their queue in well under this. */
export const RETRY_AFTER_SECONDS = 1

const QUEUE_SAMPLE_MS = 5

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #readQueuedBytes: () => number
  #requests = 0
  #bodyBytes = 0
  #answerBytes = 0
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

  get bodyBytes(): number {
    return this.#bodyBytes
  }

  get answerBytes(): number {
    return this.#answerBytes
  }

  /** Requests refused so far. */
  get shed(): number {
    return this.#shed
  }

  /** Admits a request whose body has `bodyBytes`, or throws `overloaded`. `now` in milliseconds. */
  enter(bodyBytes: number, now: number): void {
    const limits = this.#limits
    const full =
      this.#requests >= limits.requests ||
      this.#bodyBytes + bodyBytes > limits.bodyBytes ||
      this.#answerBytes > limits.answerBytes ||
      this.#sampleQueue(now) > limits.queuedBytes
    if (full) this.#refuse()
    this.#requests++
    this.#bodyBytes += bodyBytes
  }

  /** Throws `overloaded` unless an admitted request may begin a large read. */
  beginLargeRead(): void {
    if (this.#answerBytes > this.#limits.answerBytes / 2) this.#refuse()
  }

  /** Counts an answer that an admitted request is about to send. */
  hold(answerBytes: number): void {
    this.#answerBytes += answerBytes
  }

  /** Ends an admitted request, with the bytes that it entered with and held. */
  leave(bodyBytes: number, answerBytes: number): void {
    this.#requests--
    this.#bodyBytes -= bodyBytes
    this.#answerBytes -= answerBytes
  }

  #refuse(): never {
    this.#shed++
    throw new NimbusError('overloaded', 'the server takes on no more work at the moment')
  }

  /** Asking every open tenant costs more than a request should pay, so the answer is kept for a moment. */
  #sampleQueue(now: number): number {
    if (now - this.#sampledAt < QUEUE_SAMPLE_MS) return this.#queuedBytes
    this.#sampledAt = now
    this.#queuedBytes = this.#readQueuedBytes()
    return this.#queuedBytes
  }
}
