/** Long work on the event loop in slices: all of it together holds the loop for no longer than one slice a turn. */

const SLICE_MS = 2

/** When this turn's slice began, on `performance.now()`; `undefined` if nobody works in this turn. */
let began: number | undefined
const waiting: (() => void)[] = []

/** Whether whoever works long should let the others have their turn now. */
export function isSliceOver(): boolean {
  const now = performance.now()
  if (began === undefined) begin(now)
  return now - (began ?? now) >= SLICE_MS
}

/** Resolves in a later turn of the event loop, in order of arrival, one in each: input and output come in between. */
export function nextSlice(): Promise<void> {
  if (began === undefined) begin(performance.now())
  return new Promise((resolve) => waiting.push(resolve))
}

function begin(now: number): void {
  began = now
  setImmediate(end)
}

function end(): void {
  began = undefined
  const next = waiting.shift()
  if (next === undefined) return
  begin(performance.now())
  next()
}
