/** One procedure for callers who wait and for those who cannot: it hands out the promises that it comes upon, and whoever runs it decides. */

export type Procedure<T> = Generator<Promise<void>, T, undefined>

/** The value, or what the promise becomes: `const value = yield* settled(promise)`. */
export function* settled<T>(value: T | Promise<T>): Procedure<T> {
  if (!(value instanceof Promise)) return value
  const box: { result?: { value: T } } = {}
  yield value.then((result) => {
    box.result = { value: result }
  })
  if (box.result === undefined) throw new TypeError('a promise was not waited for')
  return box.result.value
}

export async function waiting<T>(procedure: Procedure<T>): Promise<T> {
  let step = procedure.next()
  while (step.done !== true) {
    try {
      await step.value
    } catch (error) {
      step = procedure.throw(error)
      continue
    }
    step = procedure.next()
  }
  return step.value
}

/** Of a procedure that comes upon no promise. */
export function atOnce<T>(procedure: Procedure<T>): T {
  const step = procedure.next()
  if (step.done === true) return step.value
  throw new TypeError('this procedure has to wait')
}
