/** When two names of keys in AWS KMS are one key. */

/** Whether two key ARNs name the same key material: equal, or replicas of one multi-Region key in two regions. */
export function isSameKey(one: string, other: string): boolean {
  if (one === other) return true
  const [left, right] = [MULTI_REGION.exec(one), MULTI_REGION.exec(other)]
  return left !== null && right !== null && left[1] === right[1] && left[2] === right[2]
}

/** Whether an answer about the key `arn` can be the answer to a call with `configured`: an id, an ARN or an alias. */
export function canBe(configured: string, arn: string): boolean {
  if (ALIAS.test(configured)) return true
  return configured.startsWith('arn:') ? isSameKey(configured, arn) : arn.endsWith(`:key/${configured}`)
}

/** Partition, and account with key id: everything but the region. */
const MULTI_REGION = /^arn:([^:]+):kms:[^:]+:([^:]+:key\/mrk-[0-9a-f]+)$/
const ALIAS = /^(?:arn:[^:]+:kms:[^:]+:[^:]+:)?alias\//
