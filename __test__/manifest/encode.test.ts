import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { wrapHeader } from '../../src/keys/binding.js'
import { encodeBody, encodeManifest } from '../../src/manifest/encode.js'
import { bindingOf } from '../../src/manifest/manifest.js'
import { MAX_MANIFEST_BYTES, parseManifest } from '../../src/manifest/parse.js'
import { MAC, MANIFEST, SLOT, macs, manifests } from './arbitrary.js'

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

describe('the bytes of a manifest', () => {
  it('are one line of JSON with these members in this order', () => {
    expect(text(encodeManifest(encodeBody(MANIFEST), MAC))).toBe(
      '{"format":"nimbus-enc","version":1,"subject":"db:sqlite:tenant:demo:demo.sqlite3","cipher":"sqlcipher",' +
        '"profile":"sqlcipher-4-sha256","state":"active","created_at":"2026-01-31T12:00:00.000Z","rotated_at":null,' +
        '"current":{"generation":"1","file_id":"11111111111111111111111111111111","provider":"master_key_file",' +
        '"hint":"/secure/master.key","key_id":"00112233445566778899aabbccddeeff",' +
        `"salt":"${'22'.repeat(32)}","commitment":"${'33'.repeat(32)}","wrapped":"${'44'.repeat(92)}"},` +
        `"next":null,"mac":"${'55'.repeat(32)}"}\n`,
    )
  })

  it('are read back as the same manifest, whatever it says', () => {
    fc.assert(
      fc.property(manifests, macs, (manifest, mac) => {
        const body = encodeBody(manifest)
        const stored = parseManifest(encodeManifest(body, mac), 'x')
        expect(stored.manifest).toEqual(manifest)
        expect(Buffer.compare(stored.body, body)).toBe(0)
        expect(Buffer.compare(stored.mac, mac)).toBe(0)
      }),
    )
  })

  it('differ whenever the manifests differ', () => {
    fc.assert(
      fc.property(manifests, manifests, (one, other) => {
        const isSame = Buffer.compare(encodeBody(one), encodeBody(other)) === 0
        if (isSame) expect(one).toEqual(other)
        else expect(one).not.toEqual(other)
      }),
    )
  })

  it('fit below the limit of the reader, two of the longest slots included', () => {
    const slot = { ...SLOT, hint: '\u{1f511}'.repeat(2048), keyId: 'k'.repeat(2048), wrapped: Buffer.alloc(8192) }
    const manifest = { ...MANIFEST, state: 'rotating', current: slot, next: { ...slot, generation: 2n } } as const
    const bytes = encodeManifest(encodeBody(manifest), MAC)
    expect(bytes.length).toBeLessThan(MAX_MANIFEST_BYTES)
    expect(parseManifest(bytes, 'x').manifest).toEqual(manifest)
  })
})

describe('the wrap header', () => {
  const header = wrapHeader(bindingOf(MANIFEST, SLOT), SLOT.provider, SLOT.keyId, SLOT.commitment)

  it('is one line of JSON with these members in this order', () => {
    expect(text(header)).toBe(
      '{"format":"nimbus-enc","version":1,"subject":"db:sqlite:tenant:demo:demo.sqlite3","cipher":"sqlcipher",' +
        '"profile":"sqlcipher-4-sha256","generation":"1","file_id":"11111111111111111111111111111111",' +
        '"provider":"master_key_file","key_id":"00112233445566778899aabbccddeeff",' +
        `"salt":"${'22'.repeat(32)}","commitment":"${'33'.repeat(32)}"}`,
    )
  })

  it.each([
    ['subject', { ...MANIFEST, subject: { family: 'sqlite_tenant', tenant: 'other' } } as const, SLOT],
    ['family', { ...MANIFEST, subject: { family: 'libsql_cache', tenant: 'demo' } } as const, SLOT],
    ['profile', { ...MANIFEST, profile: 'sqlcipher-4' } as const, SLOT],
    ['generation', MANIFEST, { ...SLOT, generation: 2n }],
    ['file id', MANIFEST, { ...SLOT, fileId: Buffer.alloc(16, 0x12) }],
    ['provider', MANIFEST, { ...SLOT, provider: 'key_directory' }],
    ['key id', MANIFEST, { ...SLOT, keyId: 'other' }],
    ['salt', MANIFEST, { ...SLOT, salt: Buffer.alloc(32) }],
    ['commitment', MANIFEST, { ...SLOT, commitment: Buffer.alloc(32) }],
  ])('changes with the %s', (_name, manifest, slot) => {
    expect(text(wrapHeader(bindingOf(manifest, slot), slot.provider, slot.keyId, slot.commitment))).not.toBe(
      text(header),
    )
  })

  it('does not change with the hint, the state and the times, so that those can be rewritten under one wrapping', () => {
    const manifest = { ...MANIFEST, state: 'deleting', createdAt: '2027-01-01T00:00:00.000Z' } as const
    const slot = { ...SLOT, hint: 'elsewhere' }
    expect(text(wrapHeader(bindingOf(manifest, slot), slot.provider, slot.keyId, slot.commitment))).toBe(text(header))
  })
})
