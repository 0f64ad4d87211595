/** Many small pieces of work, a few at a time. */

/** Like `Promise.all(items.map(work))`, with at most `limit` pieces under way; after a failure no new piece is begun. */
export async function mapBounded<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  let isFailed = false
  const worker = async (): Promise<void> => {
    for (const [index, item] of entries) {
      try {
        results[index] = await work(item)
      } catch (error) {
        isFailed = true
        throw error
      }
      if (isFailed) return
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  return results
}
