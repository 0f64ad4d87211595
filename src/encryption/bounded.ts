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
  const failures = new Map<number, unknown>()
  const entries = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of entries) {
      try {
        results[index] = await work(item)
      } catch (error) {
        failures.set(index, error)
      }
      if (failures.size > 0) return
    }
  }
  const workers: Promise<void>[] = []
  while (workers.length < Math.min(limit, items.length) && failures.size === 0) workers.push(worker())
  await Promise.all(workers)
  if (failures.size > 0) throw failures.get(Math.min(...failures.keys()))
  return results
}
