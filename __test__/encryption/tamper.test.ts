import { readFileSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unlock } from '../../src/encryption/unlock.js'
import { NimbusError } from '../../src/errors.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { rejectionOf } from '../support/failure.js'
import { DEMO, type Place, genuine, madeFile, otherProvider, place, sealedBy } from './setup.js'

const REFUSALS = ['key_wrong', 'manifest_altered', 'manifest_mismatch']

/** How the manifest with these bytes is refused; 'opened' if it is not. */
async function answerTo(bytes: Uint8Array, { file, provider }: Pick<Place, 'file' | 'provider'>): Promise<string> {
  writeFileSync(`${file}.nimbus-enc`, bytes)
  try {
    const opened = await unlock(file, DEMO, provider)
    opened?.dek.close()
    return 'opened'
  } catch (error) {
    if (!(error instanceof NimbusError)) throw error
    const isNamed = error.message.includes(`${file}.nimbus-enc`)
    const isUntouched = Buffer.compare(readFileSync(`${file}.nimbus-enc`), bytes) === 0
    return isNamed && isUntouched ? error.code : 'not named, or written to'
  }
}

describe('a tampered manifest', () => {
  it('never opens with any byte changed in any of these ways', async () => {
    const where = await place()
    await madeFile(where)
    const good = readFileSync(`${where.file}.nimbus-enc`)
    const ways = [
      (b: number) => b ^ 1,
      (b: number) => b ^ 0x20,
      (b: number) => b ^ 0x80,
      () => 0,
      () => 0x30,
      () => 0x61,
    ]
    const answers = new Map<string, number>()
    for (let at = 0; at < good.length; at++) {
      for (const way of ways) {
        const bytes = Buffer.from(good)
        bytes[at] = way(good[at] ?? 0)
        if (bytes.equals(good)) continue
        const answer = await answerTo(bytes, where)
        answers.set(answer, (answers.get(answer) ?? 0) + 1)
      }
    }
    expect([...answers.keys()].filter((answer) => !REFUSALS.includes(answer))).toEqual([])
    expect(answers.get('manifest_altered')).toBeGreaterThan(4 * good.length)
    expect(await answerTo(good, where)).toBe('opened')
  })

  it('never opens with a byte removed, doubled, or exchanged with its neighbour', async () => {
    const where = await place()
    await madeFile(where)
    const good = readFileSync(`${where.file}.nimbus-enc`)
    const answers = new Set<string>()
    for (let at = 0; at < good.length; at++) {
      const [before, after] = [good.subarray(0, at), good.subarray(at + 1)]
      const removed = Buffer.concat([before, after])
      const doubled = Buffer.concat([before, good.subarray(at, at + 1), good.subarray(at)])
      const exchanged = Buffer.concat([before, after.subarray(0, 1), good.subarray(at, at + 1), after.subarray(1)])
      for (const bytes of [removed, doubled, exchanged]) {
        if (!bytes.equals(good)) answers.add(await answerTo(bytes, where))
      }
    }
    expect([...answers].filter((answer) => !REFUSALS.includes(answer))).toEqual([])
  })

  it('never opens truncated, at any length', async () => {
    const where = await place()
    await madeFile(where)
    const good = readFileSync(`${where.file}.nimbus-enc`)
    for (let length = 0; length < good.length; length++) {
      expect(await answerTo(good.subarray(0, length), where)).toBe('manifest_altered')
    }
  })

  it('never opens with a random edit', async () => {
    const where = await place()
    await madeFile(where)
    const good = readFileSync(`${where.file}.nimbus-enc`)
    const edit = fc.record({ at: fc.nat(good.length), removed: fc.nat(40), inserted: fc.uint8Array({ maxLength: 40 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        let bytes = good
        for (const { at, removed, inserted } of edits) {
          bytes = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)])
        }
        fc.pre(!bytes.equals(good))
        expect(REFUSALS).toContain(await answerTo(bytes, where))
      }),
      { numRuns: 1000 },
    )
  })
})

/** Members that may be exchanged between two manifests, `current.` ones within the slot. */
const FIELDS = [
  ...['subject', 'profile', 'state', 'created_at', 'rotated_at', 'current', 'mac'],
  ...['generation', 'file_id', 'hint', 'key_id', 'salt', 'commitment', 'wrapped'].map((name) => `current.${name}`),
]

type Members = Record<string, unknown> & { current: Record<string, unknown> }

/** `one` with these fields of `other`, spelled as nimbus would. */
function mixed(one: Buffer, other: Buffer, fields: readonly string[]): Buffer {
  const into = JSON.parse(one.toString()) as Members
  const from = JSON.parse(other.toString()) as Members
  for (const field of fields) {
    const member = field.replace('current.', '')
    if (member === field) into[member] = from[member]
    else into.current[member] = from.current[member]
  }
  return Buffer.from(`${JSON.stringify(into)}\n`)
}

const PAIRS = FIELDS.flatMap((one, at) => FIELDS.slice(at).map((other) => (one === other ? [one] : [one, other])))
const CREATED = { createdAt: '2026-01-31T12:00:00.000Z' }

describe('fields of another genuine manifest', () => {
  const others: [string, (provider: KeyProvider, where: Place) => Promise<Buffer>][] = [
    ['of the same tenant', async (provider) => (await genuine(provider)).bytes],
    ['of the same tenant and moment', async (provider) => (await genuine(provider, CREATED)).bytes],
    [
      'of another tenant',
      async (provider) => (await genuine(provider, { subject: { family: 'sqlite_tenant', tenant: 'evil' } })).bytes,
    ],
    [
      "of the same tenant's replica cache",
      async (provider) => (await genuine(provider, { subject: { family: 'libsql_cache', tenant: 'demo' } })).bytes,
    ],
    ['of another generation', async (provider) => (await genuine(provider, { ...CREATED, generation: 2n })).bytes],
    [
      'with the slower profile',
      async (provider) => (await genuine(provider, { ...CREATED, profile: 'sqlcipher-4' })).bytes,
    ],
    ['under another master key', async (_, where) => (await genuine(await otherProvider(where), CREATED)).bytes],
  ]

  it.each(others)('%s never open: every field and every pair of fields is tried', async (_name, make) => {
    const where = await place()
    const { bytes: mine } = await genuine(where.provider, CREATED)
    const theirs = await make(where.provider, where)
    expect(await answerTo(mixed(mine, mine, FIELDS), where)).toBe('opened')
    let tried = 0
    for (const fields of PAIRS) {
      const bytes = mixed(mine, theirs, fields)
      if (bytes.equals(mine)) continue
      // Where the other members are equal in both, this is the other manifest as a whole: no mixture.
      if (bytes.equals(theirs)) continue
      expect(REFUSALS, fields.join()).toContain(await answerTo(bytes, where))
      tried += 1
    }
    expect(tried).toBeGreaterThan(60)
  })
})

describe('another genuine manifest as a whole', () => {
  it('of another tenant is a mismatch that names both', async () => {
    const where = await place()
    const subject = { family: 'sqlite_tenant', tenant: 'evil' } as const
    writeFileSync(`${where.file}.nimbus-enc`, (await genuine(where.provider, { subject })).bytes)
    const error = await rejectionOf(unlock(where.file, DEMO, where.provider))
    expect(error).toMatchObject({
      code: 'manifest_mismatch',
      detail: { found: 'db:sqlite:tenant:evil:evil.sqlite3', expected: 'db:sqlite:tenant:demo:demo.sqlite3' },
    })
    expect(error.message).toMatch(/evil\.sqlite3.*demo\.sqlite3/)
  })

  it('of another tenant is a mismatch before any key is asked', async () => {
    const where = await place()
    const subject = { family: 'libsql_cache', tenant: 'demo' } as const
    const { bytes } = await genuine(await otherProvider(where), { subject })
    expect(await answerTo(bytes, where)).toBe('manifest_mismatch')
  })

  it('under another master key is the wrong key', async () => {
    const where = await place()
    expect(await answerTo((await genuine(await otherProvider(where))).bytes, where)).toBe('key_wrong')
  })

  it('with a changed cipher profile is altered: there is no downgrade', async () => {
    const where = await place()
    const { bytes } = await genuine(where.provider)
    const downgraded = bytes.toString().replace('sqlcipher-4-sha256', 'sqlcipher-4')
    expect(await answerTo(Buffer.from(downgraded), where)).toBe('manifest_altered')
  })
})

describe('a rotating manifest', () => {
  it('is authenticated as one: `next` cannot be taken out, put in or exchanged', async () => {
    const where = await place()
    const rotating = await genuine(where.provider, { ...CREATED, nextGeneration: 2n })
    const other = await genuine(where.provider, { ...CREATED, nextGeneration: 2n })
    const settled = await genuine(where.provider, CREATED)
    expect(await answerTo(rotating.bytes, where)).toBe('opened')
    expect(await answerTo(mixed(rotating.bytes, other.bytes, ['next']), where)).toBe('manifest_altered')
    expect(await answerTo(mixed(rotating.bytes, settled.bytes, ['next', 'state']), where)).toBe('manifest_altered')
    expect(await answerTo(mixed(settled.bytes, rotating.bytes, ['next', 'state']), where)).toBe('manifest_altered')
  })

  it('whose `next` does not follow `current` is altered, however genuine it is otherwise', async () => {
    const where = await place()
    for (const nextGeneration of [1n, 3n]) {
      const { bytes } = await genuine(where.provider, { nextGeneration })
      expect(await answerTo(bytes, where)).toBe('manifest_altered')
    }
  })
})

describe('somebody who holds a DEK, but not the master key,', () => {
  it('cannot make a manifest that opens', async () => {
    const where = await place()
    const made = await madeFile(where)
    const { manifest, dek } = await genuine(await otherProvider(where), { fileId: made.fileId })
    // Their own DEK, wrapped by their key, said to be wrapped by ours, with a MAC that fits their DEK.
    const forged = { ...manifest, current: { ...manifest.current, keyId: made.manifest.current.keyId } }
    expect(await answerTo(sealedBy(dek, forged), where)).toBe('manifest_altered')
    // Our wrapped key with their MAC, and with their commitment.
    expect(await answerTo(sealedBy(dek, made.manifest), where)).toBe('manifest_altered')
    const { commitment } = manifest.current
    const committed = { ...made.manifest, current: { ...made.manifest.current, commitment } }
    expect(await answerTo(sealedBy(dek, committed), where)).toBe('manifest_altered')
    expect(await answerTo(sealedBy(made.dek, committed), where)).toBe('manifest_altered')
  })
})
