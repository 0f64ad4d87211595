/** Reads that may be large, a few at a time: each costs many times its answer's size while it is put together. */
import { availableParallelism } from 'node:os'
import type { FastifyReply } from 'fastify'
import { answer } from './answer.js'

/** As many as there are cores to work on them: more would take memory and no less time. */
const READS_AT_A_TIME = Math.min(4, availableParallelism())

export class Turns {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(atATime = READS_AT_A_TIME) {
    this.#free = atATime
  }

  /**
   * Sends what `read` makes, once it is this one's turn; `overloaded` if by then too much waits for its readers. The turn
   * ends when the answer is on its way.
   */
  async answer(reply: FastifyReply, read: () => Promise<string>): Promise<void> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#free--
    try {
      reply.request.call?.beginLargeRead()
      answer(reply, 200, await read())
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
