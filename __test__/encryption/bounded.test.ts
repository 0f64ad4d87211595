import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'

const items = Array.from({ length: 50 }, (_, index) => index)

describe('bounded work', () => {
  it('keeps the order of the items, whatever takes longer', async () => {
    const results = await mapBounded(items, 7, async (item) => {
      for (let turns = 0; turns < (item * 7) % 5; turns++) await turn()
      return item * 2
    })
    expect(results).toEqual(items.map((item) => item * 2))
  })

  it('is never more than the limit at a time, and no less while there is work', async () => {
    let running = 0
    const seen: number[] = []
    await mapBounded(items, 4, async () => {
      running += 1
      seen.push(running)
      await turn()
      running -= 1
    })
    expect(Math.max(...seen)).toBe(4)
  })

  it('begins nothing new after a failure, and ends with that failure', async () => {
    const begun: number[] = []
    const failure = new Error('the third')
    const work = mapBounded(items, 2, async (item) => {
      begun.push(item)
      await turn()
      if (item === 2) throw failure
    })
    await expect(work).rejects.toBe(failure)
    for (let turns = 0; turns < 10; turns++) await turn()
    expect(begun.length).toBeLessThan(6)
  })

  it('begins nothing after work that throws at once', async () => {
    const begun: number[] = []
    const work = mapBounded(items, 4, (item): Promise<void> => {
      begun.push(item)
      throw new Error('at once')
    })
    await expect(work).rejects.toThrow('at once')
    expect(begun).toEqual([0])
  })

  it('fails with the first item that fails, whichever fails sooner, when nothing is under way any more', async () => {
    let running = 0
    const work = mapBounded(items, 4, async (item) => {
      running += 1
      for (let turns = 8; turns > item; turns--) await turn()
      running -= 1
      if (item >= 5) throw new Error(`item ${String(item)}`)
    })
    await expect(work).rejects.toThrow('item 5')
    expect(running).toBe(0)
  })

  it('of nothing is nothing', async () => {
    expect(await mapBounded([], 4, async () => 1)).toEqual([])
  })
})
