/** Long work in slices: all of it together holds the event loop for one slice a turn, and everybody gets on. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { isSliceOver, nextSlice } from '../../src/tenants/slices.js'

const STEP_MS = 0.5
/** A slice of 2 ms holds four steps; the fifth was begun before it was over. */
const MOST_STEPS = 5

function work(): void {
  const end = performance.now() + STEP_MS
  while (performance.now() < end) continue
}

describe('work in slices', () => {
  it.each([1, 8])('by %i workers lets the event loop turn after each slice', async (workers) => {
    let steps = 0
    const watched = { isDone: false }
    const done = Array<number>(workers).fill(0)
    const turns: number[] = []
    const watch = (async () => {
      for (let before = steps; !watched.isDone; before = steps) {
        await nextTurn()
        turns.push(steps - before)
      }
    })()
    await Promise.all(
      done.map(async (_, worker) => {
        for (let n = 0; n < 40; n++) {
          if (isSliceOver()) await nextSlice()
          work()
          steps += 1
          done[worker] = n
          // Nobody is left behind by more than what the others do in their turns.
          expect(n - Math.min(...done)).toBeLessThanOrEqual(2 * MOST_STEPS)
        }
      }),
    )
    watched.isDone = true
    await watch
    expect(steps).toBe(40 * workers)
    expect(Math.max(...turns)).toBeLessThanOrEqual(MOST_STEPS + 1)
  })
})
