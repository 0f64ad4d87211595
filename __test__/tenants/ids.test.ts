/** Document ids: RFC 9562 in every bit, and strictly increasing whatever the clock does. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IdGenerator, parseDocumentId } from '../../src/tenants/ids.js'

/** A generator on a clock that shows these times one after another, and then stands still. */
function generatorAt(...times: number[]): IdGenerator {
  let at = 0
  return new IdGenerator(() => times[Math.min(at++, times.length - 1)] ?? 0)
}

const NOW = Date.UTC(2026, 0, 31, 9, 30)

describe('a document id', () => {
  it('holds the milliseconds, the version, the variant and the counter where RFC 9562 puts them', () => {
    const id = generatorAt(0x0123_4567_89ab).next()
    expect(id.text).toMatch(/^01234567-89ab-7[0-7][0-9a-f]{2}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(id.ms).toBe(0x0123_4567_89ab)
    expect(id.text.slice(15, 18)).toBe(id.counter.toString(16).padStart(3, '0'))
  })

  it('parses to what it was made of, in either case of letters', () => {
    const ids = generatorAt(NOW)
    for (let n = 0; n < 5000; n++) {
      const id = ids.next()
      expect(parseDocumentId(id.text)).toEqual(id)
      expect(parseDocumentId(id.text.toUpperCase())).toEqual(id)
    }
  })

  it.each([
    ['the example of the RFC', '017F22E2-79B0-7CC3-98C4-DC0C0C07398F', 0x017f22e279b0, 0xcc3],
    ['the least', '00000000-0000-7000-8000-000000000000', 0, 0],
    ['the greatest', 'ffffffff-ffff-7fff-bfff-ffffffffffff', 2 ** 48 - 1, 0xfff],
  ])('is read: %s', (_, text, ms, counter) => {
    expect(parseDocumentId(text)).toEqual({ ms, counter, text: text.toLowerCase() })
  })

  it.each([
    '',
    '017f22e279b07cc398c4dc0c0c07398f',
    '017f22e2-79b0-4cc3-98c4-dc0c0c07398f',
    '017f22e2-79b0-7cc3-c8c4-dc0c0c07398f',
    '017f22e2-79b0-7cc3-78c4-dc0c0c07398f',
    '{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}',
    '017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n',
    ' 017f22e2-79b0-7cc3-98c4-dc0c0c07398f',
    '017f22e2-79b0-7cc3-98c4-dc0c0c07398g',
    '017f22e2-79b0-7cc3-98c4-dc0c0c07398',
  ])('is not read from %j', (text) => {
    expect(parseDocumentId(text)).toBeUndefined()
  })

  it('has 62 random bits, each of them set in about half of all ids', () => {
    const ids = generatorAt(NOW)
    const counts = new Array<number>(62).fill(0)
    const samples = 4000
    for (let n = 0; n < samples; n++) {
      const tail = BigInt(`0x${ids.next().text.slice(19).replace('-', '')}`)
      for (let bit = 0; bit < 62; bit++) if ((tail >> BigInt(bit)) & 1n) counts[bit] = (counts[bit] ?? 0) + 1
    }
    // Seven standard deviations of a binomial distribution: one failure in 10^10 runs.
    for (const count of counts) expect(Math.abs(count - samples / 2)).toBeLessThan(7 * Math.sqrt(samples / 4))
  })
})

describe('a generator', () => {
  it('gives greater ids each time, and prefixes of their own, on any clock', () => {
    const clock = fc.array(fc.oneof(fc.nat(5), fc.integer({ min: NOW, max: NOW + 3 })), {
      minLength: 1,
      maxLength: 300,
    })
    fc.assert(
      fc.property(clock, (times) => {
        const ids = generatorAt(...times)
        let last = ids.next()
        for (let n = 0; n < 300; n++) {
          const next = ids.next()
          expect(next.text > last.text).toBe(true)
          expect(next.ms > last.ms || (next.ms === last.ms && next.counter > last.counter)).toBe(true)
          last = next
        }
      }),
    )
  })

  it('borrows from the next millisecond when one is used up', () => {
    const ids = generatorAt(NOW)
    const made = Array.from({ length: 10_000 }, () => ids.next())
    expect(made.map(({ text }) => text)).toEqual(made.map(({ text }) => text).sort())
    const last = made.at(-1)?.ms ?? 0
    expect(last).toBeGreaterThanOrEqual(NOW + 2)
    expect(last).toBeLessThanOrEqual(NOW + 4)
  })

  it('follows what it is told to skip, and the clock once that is ahead again', () => {
    const ids = generatorAt(NOW, NOW, NOW + 2000)
    ids.skip(NOW + 1000)
    expect(ids.next().ms).toBe(NOW + 1001)
    expect(ids.next().ms).toBe(NOW + 1001)
    expect(ids.next().ms).toBe(NOW + 2000)
    ids.skip(NOW)
    expect(ids.next().ms).toBe(NOW + 2000)
  })
})
