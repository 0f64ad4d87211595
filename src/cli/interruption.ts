/** Ctrl-C and its like during long work: the work is told to stop, puts the disk in order, and then the command ends. */
import { constants } from 'node:os'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The work stopped because a signal asked for it; the state of the disk is consistent. */
export class Interruption extends Error {
  override readonly name = 'Interruption'
  readonly exitCode: number

  constructor(signal: (typeof SIGNALS)[number]) {
    super(`interrupted by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** Runs `work` with a signal that aborts at the first SIGINT, SIGTERM or SIGHUP; the second ends the process at once. */
export async function interruptibly<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const listeners = SIGNALS.map((signal) => {
    const listener = (): void => {
      const interruption = new Interruption(signal)
      // Stopped in the middle of putting things in order: the next command on the file does that instead.
      if (controller.signal.aborted) process.exit(interruption.exitCode)
      controller.abort(interruption)
    }
    process.on(signal, listener)
    return { signal, listener }
  })
  try {
    return await work(controller.signal)
  } finally {
    for (const { signal, listener } of listeners) process.off(signal, listener)
  }
}
