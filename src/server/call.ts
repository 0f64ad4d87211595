/** What the server keeps of one request from its head to the end of its answer: for metrics, log and admission. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { NimbusError } from '../errors.js'
import type { Admission } from './admission.js'
import { describeForLog, type Logger } from './log.js'
import type { Metrics } from './metrics.js'

/** An answer whose client went away before it was whole. */
const CLIENT_CLOSED_REQUEST = 499

export interface CallObservers {
  readonly admission: Admission
  readonly metrics: Metrics
  readonly log: Logger
}

export class Call {
  readonly #startedAt = performance.now()
  readonly #observers: CallObservers
  #isAdmitted = false
  #bodyBytes = 0
  #answerBytes = 0
  #failure: NimbusError | undefined

  constructor(observers: CallObservers) {
    this.#observers = observers
  }

  /** Lets the request in, or throws `overloaded`. */
  enter(bodyBytes: number): void {
    this.#observers.admission.enter(bodyBytes, this.#startedAt)
    this.#isAdmitted = true
    this.#bodyBytes = bodyBytes
  }

  /** Throws `overloaded` if too many answers wait for their readers, or if nobody waits for this one any more. */
  beginLargeRead(): void {
    if (!this.#isAdmitted) throw new NimbusError('overloaded', 'the client has gone away')
    this.#observers.admission.beginLargeRead()
  }

  hold(answerBytes: number): void {
    if (!this.#isAdmitted) return
    this.#observers.admission.hold(answerBytes)
    this.#answerBytes += answerBytes
  }

  fail(error: NimbusError): void {
    this.#failure = error
  }

  /** Called when the answer has left, or the connection has ended. */
  end(request: FastifyRequest, reply: FastifyReply): void {
    const { admission, metrics, log } = this.#observers
    if (this.#isAdmitted) admission.leave(this.#bodyBytes, this.#answerBytes)
    this.#isAdmitted = false

    const ms = performance.now() - this.#startedAt
    const route = request.routeOptions.url ?? 'unknown'
    const status = reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_CLOSED_REQUEST
    metrics.observe(request.method, route, status, ms)

    const line = { request_id: request.id, method: request.method, route, status, ms: Math.round(ms * 1000) / 1000 }
    // Probes come every few seconds for ever, and say nothing as long as all is well.
    const isProbe = request.routeOptions.config.description?.always === true
    if (this.#failure === undefined) log[isProbe ? 'debug' : 'info'](line, 'request')
    else if (status < 500) log.info({ ...line, code: this.#failure.code }, 'request')
    else log.error({ ...line, error: describeForLog(this.#failure) }, 'request')
  }
}
