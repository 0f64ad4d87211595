/** Manifests of every shape that the format allows, and one that stands for the usual. */
import fc from 'fast-check'
import type { Profile } from '../../src/keys/profile.js'
import type { FileSubject } from '../../src/keys/subject.js'
import type { Manifest, SettledManifest, Slot } from '../../src/manifest/manifest.js'

const bytes = (count: number) =>
  fc.uint8Array({ minLength: count, maxLength: count }).map((array) => Buffer.from(array))

const MAX_GENERATION = 2n ** 64n - 1n

export const slots: fc.Arbitrary<Slot> = fc.record({
  generation: fc.bigInt({ min: 1n, max: MAX_GENERATION - 1n }),
  fileId: bytes(16),
  provider: fc.oneof(
    fc.constantFrom('master_key_file', 'key_directory', 'aws_kms'),
    fc.stringMatching(/^[a-z][a-z0-9_]{0,31}$/),
  ),
  hint: fc.string({ unit: 'binary', maxLength: 200 }).map((hint) => hint.replace(/[\p{Cc}\p{Cs}]/gu, '')),
  keyId: fc.stringMatching(/^[\x21-\x7e]{1,200}$/),
  salt: bytes(32),
  commitment: bytes(32),
  wrapped: fc.uint8Array({ minLength: 1, maxLength: 8192 }).map((array) => Buffer.from(array)),
})

const tenants = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,47}$/)

/** Subjects with a profile of their cipher. */
const owners: fc.Arbitrary<{ subject: FileSubject; profile: Profile }> = fc.oneof(
  fc.record({
    subject: fc.record({ family: fc.constantFrom('sqlite_tenant' as const, 'libsql_cache' as const), tenant: tenants }),
    profile: fc.constantFrom<Profile>('sqlcipher-4', 'sqlcipher-4-sha256'),
  }),
  fc.record({
    subject: fc.oneof(
      fc.record({ family: fc.constant('redb_tenant' as const), tenant: tenants }),
      fc.constant({ family: 'control_plane' as const }),
    ),
    profile: fc.constant<Profile>('sealed-redb-1'),
  }),
)

const times = fc
  .date({ noInvalidDate: true, min: new Date('0001-01-01T00:00:00.000Z'), max: new Date('9999-12-31T23:59:59.999Z') })
  .map((date) => date.toISOString())

const common = fc
  .record({ owner: owners, createdAt: times, rotatedAt: fc.option(times), current: slots })
  .map(({ owner, ...rest }) => ({ ...owner, ...rest }))

export const manifests: fc.Arbitrary<Manifest> = fc.oneof(
  fc
    .record({ common, state: fc.constantFrom('creating' as const, 'active' as const, 'deleting' as const) })
    .map(({ common, state }): Manifest => ({ ...common, state, next: null })),
  fc.record({ common, slot: slots }).map(({ common, slot }): Manifest => ({
    ...common,
    state: 'rotating',
    next: { ...slot, generation: common.current.generation + 1n },
  })),
)

export const macs = bytes(32)

export const SLOT: Slot = {
  generation: 1n,
  fileId: Buffer.alloc(16, 0x11),
  provider: 'master_key_file',
  hint: '/secure/master.key',
  keyId: '00112233445566778899aabbccddeeff',
  salt: Buffer.alloc(32, 0x22),
  commitment: Buffer.alloc(32, 0x33),
  wrapped: Buffer.alloc(92, 0x44),
}

export const MANIFEST: SettledManifest = {
  subject: { family: 'sqlite_tenant', tenant: 'demo' },
  profile: 'sqlcipher-4-sha256',
  state: 'active',
  createdAt: '2026-01-31T12:00:00.000Z',
  rotatedAt: null,
  current: SLOT,
  next: null,
}

export const MAC = Buffer.alloc(32, 0x55)
