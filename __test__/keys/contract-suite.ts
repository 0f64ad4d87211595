/** What every key provider promises (`src/keys/provider.ts`), whatever holds its KEK. */
import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { createProtected, markActive, openProtected } from '../../src/encryption/protect.js'
import type { DekBinding } from '../../src/keys/binding.js'
import type { KeyProvider, NewDek, UnwrapResult, WrappedDek } from '../../src/keys/provider.js'
import { manifestPathOf } from '../../src/manifest/file.js'
import type { Dek } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'

/** One place that holds KEKs, and the providers that use it. The suite closes what it is given. */
export interface ProviderHome {
  /** A provider on the KEK of this home; each call opens it anew. */
  open(): Promise<KeyProvider>
  /** A provider of the same kind on another KEK. */
  openOther(): Promise<KeyProvider>
}

const DEMO = { family: 'sqlite_tenant', tenant: 'demo' } as const
const OTHER = { family: 'sqlite_tenant', tenant: 'other' } as const

/**
 * `newHome` makes a KEK for the subjects `demo` and `other`, and another KEK for both. `gaps` are promises that cannot be kept
 * on this home, by their names, with the reason: they must fail, or the gap is none any more.
 */
export function keyProviderContract(
  name: string,
  newHome: () => Promise<ProviderHome>,
  gaps: Readonly<Record<string, string>> = {},
): void {
  const promise = (sentence: string, test: () => Promise<void>): void => {
    const gap = gaps[sentence]
    if (gap === undefined) it(sentence, test)
    else it.fails(`${sentence} (not here: ${gap})`, test)
  }

  async function opened() {
    const home = await newHome()
    return { home, provider: closedAtEnd(await home.open()) }
  }

  describe(`the key provider ${name}`, () => {
    promise('gives back the DEK that it made, also after it was opened anew', async () => {
      const { home, provider } = await opened()
      const binding = newBinding()
      const made = await provider.newDek(binding)
      for (const later of [provider, closedAtEnd(await home.open())]) {
        expect(commitmentOf(await unwrapOf(later, binding, made, made.dek))).toEqual(commitmentOf(made))
      }
    })

    promise('describes a wrapped DEK in the form that manifests hold', async () => {
      const { provider } = await opened()
      const { keyId, hint, wrapped } = await provider.newDek(newBinding())
      expect(provider.kind).toMatch(/^[a-z][a-z0-9_]{0,31}$/)
      expect(keyId).toMatch(/^[\x21-\x7e]{1,2048}$/)
      expect(hint).toMatch(/^[^\p{Cc}\p{Cs}]{0,4096}$/u)
      expect(wrapped.length).toBeGreaterThanOrEqual(32)
      expect(wrapped.length).toBeLessThanOrEqual(8192)
      expect(provider.describe().provider).toBe(provider.kind)
    })

    promise('makes another DEK each time, and wraps the same one to other bytes each time', async () => {
      const { provider } = await opened()
      const binding = newBinding()
      const [one, two] = [await provider.newDek(binding), await provider.newDek(binding)]
      expect(commitmentOf(one)).not.toEqual(commitmentOf(two))
      expect(one.keyId).toBe(two.keyId)
      const [first, second] = [await provider.wrap(binding, one.dek), await provider.wrap(binding, one.dek)]
      expect(Buffer.compare(first.wrapped, second.wrapped)).not.toBe(0)
    })

    promise('wraps a DEK that another KEK has wrapped, and leaves it open', async () => {
      const { home, provider } = await opened()
      const { dek } = await closedAtEnd(await home.openOther()).newDek(newBinding())
      const binding = newBinding()
      const wrapped = await provider.wrap(binding, dek)
      expect(commitmentOf(await unwrapOf(provider, binding, wrapped, dek))).toEqual(commitmentOf({ dek }))
      dek.close()
      await expect(provider.wrap(binding, dek)).rejects.toThrow('this DEK was closed')
    })

    it.each([
      ['subject', { subject: OTHER }],
      ['profile', { profile: 'sqlcipher-4-sha256' }],
      ['generation', { generation: 2n }],
      ['file', { fileId: Buffer.alloc(16, 9) }],
      ['salt', { salt: Buffer.alloc(32, 9) }],
    ] as const)('refuses to unwrap for another %s', async (_what, change) => {
      const { provider } = await opened()
      const binding = newBinding()
      const made = await provider.newDek(binding)
      const result = await unwrapOf(provider, { ...binding, ...change }, made, made.dek)
      expect(['altered', 'other_key']).toContain(result.outcome)
    })

    promise('refuses what was wrapped under another KEK, and says which was tried', async () => {
      const { home, provider } = await opened()
      const other = closedAtEnd(await home.openOther())
      const binding = newBinding()
      const [ours, theirs] = [await provider.newDek(binding), await other.newDek(binding)]
      expect(ours.keyId).not.toBe(theirs.keyId)
      const results = [
        await unwrapOf(other, binding, ours, ours.dek),
        await unwrapOf(provider, binding, theirs, theirs.dek),
      ]
      expect(results).toEqual([
        { outcome: 'other_key', ours: theirs.keyId },
        { outcome: 'other_key', ours: ours.keyId },
      ])
    })

    promise('refuses what another KEK wrapped under the name of its own', async () => {
      const { home, provider } = await opened()
      const binding = newBinding()
      const { keyId } = await provider.newDek(binding)
      const planted = await closedAtEnd(await home.openOther()).newDek(binding)
      expect((await unwrapOf(provider, binding, { ...planted, keyId }, planted.dek)).outcome).not.toBe('opened')
    })

    promise('refuses wrapped bytes with any part changed, cut off or added', async () => {
      const { provider } = await opened()
      const binding = newBinding()
      const made = await provider.newDek(binding)
      const { wrapped } = made
      const flips = Array.from({ length: 16 }, (_, part) => {
        const bytes = Buffer.from(wrapped)
        const at = Math.floor((part * (bytes.length - 1)) / 15)
        bytes[at] = (bytes[at] ?? 0) ^ 0x10
        return bytes
      })
      const cuts = [0, 1, wrapped.length - 1].map((length) => wrapped.subarray(0, length))
      for (const bytes of [...flips, ...cuts, Buffer.concat([wrapped, Buffer.of(0)])]) {
        const { outcome } = await unwrapOf(provider, binding, { ...made, wrapped: bytes }, made.dek)
        expect(['altered', 'other_key']).toContain(outcome)
      }
    })

    promise('serves calls that overlap, each with a DEK of its own to close', async () => {
      const { provider } = await opened()
      const binding = newBinding()
      const made = await provider.newDek(binding)
      const commitment = commitmentOf(made)
      const results = await Promise.all(
        Array.from({ length: 20 }, () => provider.unwrap(binding, made, made.dek.commitment(binding.salt))),
      )
      for (const result of results) {
        expect(commitmentOf(result)).toEqual(commitment)
        if (result.outcome === 'opened') result.dek.close()
      }
    })

    promise('leaves the DEKs open that it made, when it is closed', async () => {
      const { home } = await opened()
      const provider = await home.open()
      const binding = newBinding()
      const { dek } = await provider.newDek(binding)
      const before = commitmentOf({ dek })
      provider.close()
      provider.close()
      expect(commitmentOf({ dek })).toEqual(before)
    })

    promise('rewraps from another KEK of its kind only what is bound as the caller says, if it rewraps', async () => {
      const { home, provider } = await opened()
      if (provider.rewrap === undefined) return
      const other = closedAtEnd(await home.openOther())
      const [before, after] = [newBinding(), { ...newBinding(), generation: 7n }]
      const made = await other.newDek(before)
      const from = { provider: other, binding: before, wrapped: made }
      const moved = await provider.rewrap(from, after)
      if (moved.outcome !== 'rewrapped') return expect.fail(`it does not rewrap between its own KEKs: ${moved.outcome}`)
      expect(commitmentOf(await unwrapOf(provider, after, moved.wrapped, made.dek))).toEqual(commitmentOf(made))
      expect((await unwrapOf(provider, before, moved.wrapped, made.dek)).outcome).not.toBe('opened')
      const misplaced = { ...from, binding: { ...before, generation: 8n } }
      expect(await provider.rewrap(misplaced, after)).toEqual({ outcome: 'altered' })
    })

    promise('protects files: they open with its KEK, and are the named errors without', async () => {
      const { home, provider } = await opened()
      const file = path.join(temporaryDirectory(), 'demo.sqlite3')
      const creating = await createProtected(file, DEMO, provider, 'sqlcipher-4')
      writeFileSync(file, Buffer.concat([creating.fileId, Buffer.alloc(4080, 0xa5)]))
      const active = await markActive(creating)
      for (const open of [openProtected, checkProtected]) {
        const again = await open(file, DEMO, closedAtEnd(await home.open()))
        expect(again?.dek.commitment(Buffer.alloc(32))).toEqual(active.dek.commitment(Buffer.alloc(32)))
        again?.dek.close()
      }
      const wrong = await rejectionOf(openProtected(file, DEMO, closedAtEnd(await home.openOther())))
      expect(wrong).toMatchObject({ code: 'key_wrong', path: manifestPathOf(file) })
      const mismatch = await rejectionOf(openProtected(file, OTHER, provider))
      expect(mismatch).toMatchObject({ code: 'manifest_mismatch' })
      rmSync(manifestPathOf(file))
      expect(await rejectionOf(openProtected(file, DEMO, provider))).toMatchObject({ code: 'manifest_missing' })
    })
  })
}

export function newBinding(): DekBinding {
  const [fileId, salt] = [randomBytes(16), randomBytes(32)]
  return { subject: DEMO, profile: 'sqlcipher-4', generation: 1n, fileId, salt }
}

function closedAtEnd(provider: KeyProvider): KeyProvider {
  onTestFinished(() => provider.close())
  return provider
}

/** Unwraps as the manifest of `dek` would have it. */
function unwrapOf(provider: KeyProvider, binding: DekBinding, wrapped: WrappedDek, dek: Dek): Promise<UnwrapResult> {
  return provider.unwrap(binding, wrapped, dek.commitment(binding.salt))
}

/** Tells DEKs apart. */
function commitmentOf(holder: UnwrapResult | Pick<NewDek, 'dek'>): string {
  if (!('dek' in holder)) return expect.fail(`it did not open: ${holder.outcome}`)
  return Buffer.from(holder.dek.commitment(Buffer.alloc(32))).toString('hex')
}
