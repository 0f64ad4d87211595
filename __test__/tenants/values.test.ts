/** The parts of the contract that are the same in every provider: merges, datetimes, paths, cursors, schemas as stored. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_CURSOR_LENGTH, decodeCursor, encodeCursor } from '../../src/tenants/cursor.js'
import { canonicalDateTime } from '../../src/tenants/datetime.js'
import { parseFieldPath, readField } from '../../src/tenants/field-path.js'
import type { JsonObject } from '../../src/tenants/json.js'
import { mergePatch } from '../../src/tenants/merge.js'
import { checkSchema, decodeSchema } from '../../src/tenants/schema.js'
import { decodePosition, encodePosition, sortKeyOf } from '../../src/tenants/sort-key.js'
import { failureOf } from '../support/failure.js'

const object = (text: string) => JSON.parse(text) as JsonObject

describe('a merge patch', () => {
  // RFC 7396, appendix A, as far as both sides are objects.
  it.each([
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
    ['{"__proto__":{"a":1}}', '{"__proto__":{"b":null,"c":2}}', '{"__proto__":{"a":1,"c":2}}'],
    ['{}', '{"constructor":{"prototype":{"x":1}}}', '{"constructor":{"prototype":{"x":1}}}'],
  ])('turns %s by %s into %s', (target, patch, merged) => {
    expect(JSON.stringify(mergePatch(object(target), object(patch)))).toBe(merged)
  })

  it('changes neither side, and is idempotent', () => {
    const fields = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => object(JSON.stringify(value)))
    fc.assert(
      fc.property(fields, fields, (target, patch) => {
        const [before, change] = [JSON.stringify(target), JSON.stringify(patch)]
        const merged = mergePatch(target, patch)
        expect(JSON.stringify(target)).toBe(before)
        expect(JSON.stringify(patch)).toBe(change)
        expect(mergePatch(merged, patch)).toEqual(merged)
      }),
    )
  })
})

describe('a datetime', () => {
  it.each([
    ['2026-01-31T09:30:00Z', '2026-01-31T09:30:00.000Z'],
    ['2026-01-31t09:30:00z', '2026-01-31T09:30:00.000Z'],
    ['2026-01-31T09:30:00.5Z', '2026-01-31T09:30:00.500Z'],
    ['2026-01-31T09:30:00.123000Z', '2026-01-31T09:30:00.123Z'],
    ['2026-01-31T00:30:00+01:00', '2026-01-30T23:30:00.000Z'],
    ['2026-12-31T23:59:59.999-23:59', '2027-01-01T23:58:59.999Z'],
    ['2024-02-29T00:00:00-00:00', '2024-02-29T00:00:00.000Z'],
    ['0000-01-01T00:00:00Z', '0000-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('reads %s as %s', (text, instant) => {
    expect(canonicalDateTime(text)).toBe(instant)
  })

  it.each([
    '',
    '2026-01-31',
    '2026-01-31T09:30Z',
    '2026-01-31T09:30:00',
    '2026-01-31 09:30:00Z',
    '2026-1-31T09:30:00Z',
    '2026-02-29T09:30:00Z',
    '2026-04-31T09:30:00Z',
    '2026-13-01T09:30:00Z',
    '2026-00-01T09:30:00Z',
    '2026-01-00T09:30:00Z',
    '2026-01-31T24:00:00Z',
    '2026-01-31T09:60:00Z',
    '2016-12-31T23:59:60Z',
    '2026-01-31T09:30:00.Z',
    '2026-01-31T09:30:00.0001Z',
    '2026-01-31T09:30:00.1234567Z',
    '2026-01-31T09:30:00+24:00',
    '2026-01-31T09:30:00+01:60',
    '2026-01-31T09:30:00+0100',
    '0000-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59.999-00:01',
    '+002026-01-31T09:30:00Z',
    ' 2026-01-31T09:30:00Z',
    '2026-01-31T09:30:00Z\n',
  ])('is not read from %j', (text) => {
    expect(canonicalDateTime(text)).toBeUndefined()
  })

  it('of any instant comes back from any offset, and its text is ordered as time is', () => {
    const instants = fc.date({
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9998-12-31T00:00:00Z'),
      noInvalidDate: true,
    })
    fc.assert(
      fc.property(instants, instants, fc.integer({ min: -1439, max: 1439 }), (a, b, minutes) => {
        const local = new Date(a.getTime() + minutes * 60_000).toISOString().slice(0, -1)
        const [hour, minute] = [Math.trunc(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
        const offset = `${minutes < 0 ? '-' : '+'}${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`
        expect(canonicalDateTime(local + offset)).toBe(a.toISOString())
        const [first, second] = [a, b].map((date) => canonicalDateTime(date.toISOString()) ?? '')
        expect((first ?? '') < (second ?? '')).toBe(a.getTime() < b.getTime())
      }),
    )
  })
})

describe('a field path', () => {
  it('reads members of objects, own ones only', () => {
    const fields = object('{"a":{"b":[1],"größe":2},"toString":{"x":3},"__proto__":{"y":4}}')
    const read = (path: string) => readField(fields, parseFieldPath(path, 'field'))
    expect(read('a.größe')).toBe(2)
    expect(read('a.b')).toEqual([1])
    expect(read('a.b.0')).toBeUndefined()
    expect(read('a.b.length')).toBeUndefined()
    expect(read('toString.x')).toBe(3)
    expect(read('__proto__.y')).toBe(4)
    expect(read('hasOwnProperty')).toBeUndefined()
  })

  it('holds nothing that means something in a JSON path or in SQL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
        try {
          parseFieldPath(text, 'field')
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_request', path: 'field' })
          return
        }
        expect(text).not.toMatch(/["'`\\$[\]*?:;()\s\0]/)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('a cursor', () => {
  it('gives back any position, and nothing for another shape', () => {
    const positions = fc.oneof(
      fc.record({ id: fc.uuid({ version: 7 }) }),
      fc.record({ id: fc.uuid({ version: 7 }), kind: fc.constant('string'), value: fc.string({ unit: 'binary' }) }),
    )
    fc.assert(
      fc.property(positions, fc.jsonValue(), fc.jsonValue(), (position, one, other) => {
        const [shape, another] = [one, other].map((value) => JSON.parse(JSON.stringify(value)) as string)
        const cursor = encodeCursor(shape ?? null, position)
        expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/)
        expect(decodeCursor(shape ?? null, cursor)).toEqual(position)
        if (JSON.stringify(shape) !== JSON.stringify(another)) {
          expect(failureOf(() => decodeCursor(another ?? null, cursor)).code).toBe('invalid_cursor')
        }
      }),
    )
  })

  it('is at most as long as it says', () => {
    const cursor = encodeCursor([], { value: 'x'.repeat(6100) })
    expect(cursor.length).toBeLessThanOrEqual(MAX_CURSOR_LENGTH)
    expect(failureOf(() => encodeCursor([], { value: 'x'.repeat(6200) }))).toMatchObject({ code: 'invalid_request' })
  })
})

describe('a position', () => {
  const id = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'

  it.each([[1.5], ['text'], [''], [true], [false], [null], [[]], [{}], [undefined]])('at %j comes back', (value) => {
    const position = { id, key: sortKeyOf(value) }
    expect(decodePosition(JSON.parse(JSON.stringify(encodePosition(position))) as string, true)).toEqual(position)
    expect(failureOf(() => decodePosition(encodePosition(position), false)).code).toBe('invalid_cursor')
  })

  it('in the order of ids has no key', () => {
    const position = { id, key: undefined }
    expect(decodePosition(encodePosition(position), false)).toEqual(position)
    expect(failureOf(() => decodePosition(encodePosition(position), true)).code).toBe('invalid_cursor')
  })

  // A digest is no signature: what stands in a cursor may be anybody's invention.
  it.each([
    null,
    'text',
    [],
    {},
    { id: 1 },
    { id: 'x' },
    { id: id.toUpperCase() },
    { id, kind: 'number' },
    { id, kind: 'number', value: '1' },
    { id, kind: 'string', value: 1 },
    { id, kind: 'null', value: 1 },
    { id, kind: 'blob', value: 'x' },
    { id, kind: 1 },
  ])('is not made of %j', (encoded) => {
    expect(failureOf(() => decodePosition(encoded, true)).code).toBe('invalid_cursor')
  })
})

describe('a stored schema', () => {
  it('comes back from JSON', () => {
    const schema = checkSchema({
      fields: { a: { type: 'string', required: true }, 'b.c': { type: 'json' } },
      indexes: [{ name: 'i', fields: ['a', 'b.c'], unique: true }],
    })
    expect(decodeSchema(JSON.parse(JSON.stringify(schema)) as string)).toEqual(schema)
  })

  it.each([
    null,
    [],
    {},
    { fields: {}, indexes: {} },
    { fields: { a: { type: 'text', required: true } }, indexes: [] },
    { fields: { a: { type: 'string' } }, indexes: [] },
    { fields: {}, indexes: [{ name: 'i', fields: ['a'] }] },
    { fields: {}, indexes: [{ name: 'i', fields: [1], unique: true }] },
  ])('is not read from %j', (stored) => {
    expect(decodeSchema(stored)).toBeUndefined()
  })
})
