/** Medians and quantiles; of figures that were taken in turns, the ratio is taken round by round. */

/**
 * @param {readonly number[]} values
 * @param {number} q 0 to 1
 */
export function quantile(values, q) {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}

export const median = (values) => quantile(values, 0.5)

/** The figure that other work on the machine disturbed least. */
export const least = (values) => Math.min(...values)

/** The median of the rounds' ratios, so that a slow moment of the machine, which meets both, cancels out. */
export function medianRatio(over, under) {
  return median(over.map((value, round) => value / under[round]))
}

/**
 * Runs every variant once a round, each round beginning with the next one.
 *
 * @template T
 * @param {number} rounds
 * @param {Record<string, (round: number) => Promise<T>>} variants
 * @returns {Promise<Record<string, T[]>>} the results of each variant, by round
 */
export async function interleave(rounds, variants) {
  const names = Object.keys(variants)
  const results = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + turn) % names.length]
      results[name].push(await variants[name](round))
    }
  }
  return results
}
