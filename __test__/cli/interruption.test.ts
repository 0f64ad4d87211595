import { describe, expect, it } from 'vitest'
import { Interruption, interruptibly } from '../../src/cli/interruption.js'

describe('a signal during long work', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s aborts it once, and the work decides when it has ended', async (signal, exitCode) => {
    const before = process.listenerCount(signal)
    const ended = interruptibly(async (aborted) => {
      process.emit(signal)
      expect(aborted.aborted).toBe(true)
      aborted.throwIfAborted()
    })
    await expect(ended).rejects.toMatchObject({ exitCode, message: `interrupted by ${signal}` })
    await expect(ended).rejects.toBeInstanceOf(Interruption)
    expect(process.listenerCount(signal)).toBe(before)
  })

  it('is none when none came', async () => {
    expect(await interruptibly(async (aborted) => aborted.aborted)).toBe(false)
  })
})
