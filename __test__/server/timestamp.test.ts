/** Times as text are what `Date` makes of them. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { timestamp } from '../../src/server/timestamp.js'

const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z')

it('writes every millisecond as Date does', () => {
  fc.assert(
    fc.property(fc.integer({ min: Date.parse('0000-01-01T00:00:00Z'), max: LAST_MS }), (ms) => {
      expect(timestamp(ms)).toBe(new Date(ms).toISOString())
    }),
    { numRuns: 10_000 },
  )
})

it('writes the turns of days, years and the epoch as Date does', () => {
  for (const text of [
    '1970-01-01',
    '1969-12-31',
    '2000-02-29',
    '2024-02-29',
    '2026-12-31',
    '2027-01-01',
    '0000-01-01',
  ]) {
    for (const ms of [-1, 0, 1, 999, 1000, 86_399_999, 86_400_000]) {
      const time = Date.parse(text) + ms
      if (time >= Date.parse('0000-01-01T00:00:00Z')) expect(timestamp(time)).toBe(new Date(time).toISOString())
    }
  }
})

it('refuses what is no time', () => {
  expect(() => timestamp(Number.NaN)).toThrow(RangeError)
})
