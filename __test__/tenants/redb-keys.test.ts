/** The keys of a redb tenant: their bytes are in the order of what they stand for, and say all of it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { StoredDocument } from '../../src/tenants/contract.js'
import { IdGenerator, parseDocumentId } from '../../src/tenants/ids.js'
import type { JsonValue } from '../../src/tenants/json.js'
import {
  boundsOfKind,
  documentKey,
  documentKeyOf,
  endOf,
  isUniqueKind,
  parseDocumentKey,
  takesPart,
  valueKey,
  valuesOf,
} from '../../src/tenants/redb/keys.js'
import { decodeDocument, encodeDocument } from '../../src/tenants/redb/record.js'
import { sortKeyOf } from '../../src/tenants/sort-key.js'
import { failureOf } from '../support/failure.js'
import { compareValues } from './contract/model.js'

type Value = JsonValue | undefined

const storable = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed() && !text.includes('\0'))
const values: fc.Arbitrary<Value> = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom<Value>(0, -0, 1, -1, 5e-324, -5e-324, Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** 53, 0.1),
  storable,
  fc.constantFrom<Value>('', 'a', 'ab', 'a\u0001', '\uffff', '\u{1f600}', '\u007f', '\u0080'),
  fc.constantFrom<Value>(true, false, null, undefined, [], {}),
)
const keyOf = (value: Value): Buffer => valueKey(sortKeyOf(value))
const keysOf = (list: readonly Value[]): Buffer => Buffer.concat(list.map(keyOf))

describe('the key of a value', () => {
  it('compares as the value does', () => {
    fc.assert(
      fc.property(values, values, (a, b) => {
        expect(Buffer.compare(keyOf(a), keyOf(b))).toBe(Math.sign(compareValues(a, b)) + 0)
      }),
      { numRuns: 5000 },
    )
  })

  it('compares as the value does with others behind it, one field after the other', () => {
    const rows = fc.tuple(
      fc.array(values, { minLength: 3, maxLength: 3 }),
      fc.array(values, { minLength: 3, maxLength: 3 }),
    )
    fc.assert(
      fc.property(rows, fc.nat(2 ** 40), fc.nat(2 ** 40), ([a, b], one, other) => {
        const byValue = a.map((value, at) => compareValues(value, b[at])).find((order) => order !== 0) ?? one - other
        const entry = (row: Value[], ms: number) => Buffer.concat([keysOf(row), documentKey({ ms, counter: 0 })])
        expect(Math.sign(Buffer.compare(entry(a, one), entry(b, other)))).toBe(Math.sign(byValue) + 0)
      }),
      { numRuns: 5000 },
    )
  })

  it('lies within the bounds of its kind, and before its end exactly with all that begin with it', () => {
    fc.assert(
      fc.property(values, values, fc.array(values, { maxLength: 2 }), (a, b, more) => {
        const end = endOf(keyOf(a))
        expect(Buffer.compare(Buffer.concat([keyOf(a), keysOf(more)]), end)).toBe(-1)
        if (compareValues(b, a) > 0) expect(Buffer.compare(Buffer.concat([keyOf(b), keysOf(more)]), end)).toBe(1)
        for (const kind of ['number', 'string'] as const) {
          const { from, to } = boundsOfKind(kind)
          const isWithin = Buffer.compare(from, keyOf(a)) <= 0 && Buffer.compare(keyOf(a), to) < 0
          expect(isWithin).toBe(typeof a === kind)
        }
      }),
    )
  })

  it('is known, beside others, to be of a kind that takes part in unique indexes', () => {
    fc.assert(
      fc.property(fc.array(values, { maxLength: 4 }), (list) => {
        expect(takesPart(keysOf(list))).toBe(list.every((value) => isUniqueKind(sortKeyOf(value))))
      }),
    )
  })

  it('has the bytes that docs/format.md says', () => {
    const hex = (value: Value) => keyOf(value).toString('hex')
    expect(hex(0)).toBe('108000000000000000')
    expect(hex(-0)).toBe(hex(0))
    expect(hex(1)).toBe('10bff0000000000000')
    expect(hex(-1)).toBe('10400fffffffffffff')
    expect(hex('')).toBe('2000')
    expect(hex('aä')).toBe('2061c3a400')
    expect([false, true, [], {}, null, undefined].map(hex)).toEqual(['30', '31', '40', '40', '50', '60'])
  })
})

describe('the key of a document', () => {
  it('is its id up to the random bits, and orders as it does', () => {
    const prefix = fc.record({ ms: fc.nat(2 ** 48 - 1), counter: fc.nat(4095) })
    fc.assert(
      fc.property(prefix, prefix, (a, b) => {
        expect(parseDocumentKey(documentKey(a))).toEqual(a)
        const order = Math.sign(a.ms - b.ms || a.counter - b.counter)
        expect(Math.sign(Buffer.compare(documentKey(a), documentKey(b)))).toBe(order + 0)
      }),
    )
    expect(documentKey({ ms: 2 ** 48 - 1, counter: 4095 }).toString('hex')).toBe('0fffffffffffffff')
    expect(documentKey({ ms: 1, counter: 2 }).toString('hex')).toBe('0000000000001002')
  })

  it('ends every entry of an index', () => {
    const key = documentKey({ ms: 12345, counter: 6 })
    const entry = Buffer.concat([keysOf(['a', 1]), key])
    expect(documentKeyOf(entry)).toEqual(key)
    expect(valuesOf(entry)).toEqual(keysOf(['a', 1]))
  })
})

describe('the record of a document', () => {
  const ids = new IdGenerator()
  const make = (fieldsJson = '{"a":"ä\u{1f600}"}'): StoredDocument => {
    const times = { createdAt: 2 ** 48 - 1, updatedAt: 1_700_000_000_000 }
    return { id: ids.next().text, table: 'posts', version: 2 ** 40 + 1, ...times, fieldsJson }
  }
  const keyFor = ({ id }: StoredDocument): Buffer => {
    const parsed = parseDocumentId(id)
    return parsed === undefined ? expect.fail('no id') : documentKey(parsed)
  }

  it('gives the document back', () => {
    for (const document of [make(), make('{}'), make(`{"a":"${'x'.repeat(1_048_000)}"}`)]) {
      expect(decodeDocument('posts', keyFor(document), encodeDocument(document), '/f')).toEqual(document)
    }
  })

  it('is file_corrupt when it was cut off, is of another form, or is under another kind of key', () => {
    const document = make()
    const record = encodeDocument(document)
    const damaged = Array.from({ length: record.length }, (_, end) => record.subarray(0, end))
    for (const at of [0, 1, 27, record.length - 1]) {
      const copy = Buffer.from(record)
      copy[at] = copy.readUInt8(at) ^ 0xc0
      damaged.push(copy)
    }
    const corrupt = { code: 'file_corrupt', path: '/f' }
    for (const bytes of damaged) {
      expect(failureOf(() => decodeDocument('posts', keyFor(document), bytes, '/f'))).toMatchObject(corrupt)
    }
    expect(failureOf(() => decodeDocument('posts', Buffer.alloc(7), record, '/f'))).toMatchObject(corrupt)
  })
})
