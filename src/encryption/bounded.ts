/** Many small pieces of work, a few at a time. */

/**
 * Like `Promise.all(items.map(work))`, with at most `limit` pieces under way. After a failure no new piece is begun, those under way
 * are waited for, and of their failures that of the first item is thrown: what is reported does not depend on which was faster.
 */
export async function mapBounded<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  let failure: { readonly index: number; readonly error: unknown } | undefined
  const worker = async (): Promise<void> => {
    for (const [index, item] of entries) {
      if (failure !== undefined) return
      try {
        results[index] = await work(item)
      } catch (error) {
        if (failure === undefined || index < failure.index) failure = { index, error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  if (failure !== undefined) throw failure.error
  return results
}
