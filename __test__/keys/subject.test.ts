import fc from 'fast-check'
import { describe as group, expect, it } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import {
  type Subject,
  describe,
  isTenantId,
  keyFileName,
  parseDescriptor,
  parseTenantId,
  servedName,
} from '../../src/keys/subject.js'

const descriptors: [Subject, string][] = [
  [{ family: 'sqlite_tenant', tenant: 'demo' }, 'db:sqlite:tenant:demo:demo.sqlite3'],
  [{ family: 'redb_tenant', tenant: 'demo' }, 'db:redb:tenant:demo:demo.redb'],
  [{ family: 'control_plane' }, 'db:redb:control:nimbus-control.db'],
  [{ family: 'libsql_cache', tenant: 'demo' }, 'db:libsql:cache:demo:demo.sqlite3'],
  [{ family: 'vault' }, 'vault:kek'],
]

const tenantIds = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,47}$/)
const families = fc.constantFrom('sqlite_tenant' as const, 'redb_tenant' as const, 'libsql_cache' as const)

group('a descriptor', () => {
  it.each(descriptors)('of %o is %s', (subject, text) => {
    expect(describe(subject)).toBe(text)
    expect(parseDescriptor(text)).toEqual(subject)
  })

  it('is read back as the subject that it describes, for every tenant', () => {
    fc.assert(
      fc.property(families, tenantIds, (family, tenant) => {
        expect(parseDescriptor(describe({ family, tenant }))).toEqual({ family, tenant })
      }),
    )
  })

  it.each([
    '',
    'db:sqlite:tenant:',
    'db:sqlite:tenant:demo',
    'db:sqlite:tenant::.sqlite3',
    'db:sqlite:tenant:demo:other.sqlite3',
    'db:sqlite:tenant:demo:demo.sqlite3 ',
    'db:sqlite:tenant:demo:demo.sqlite3\n',
    'db:sqlite:tenant:demo:demo.redb',
    'db:sqlite:tenant:Demo:Demo.sqlite3',
    'db:sqlite:tenant:../etc:../etc.sqlite3',
    'db:redb:control:nimbus-control.db.bak',
    'db:sqlite:cache:demo:demo.sqlite3',
    'vault:kek:',
    'VAULT:KEK',
  ])('is not %j', (text) => {
    expect(parseDescriptor(text)).toBeUndefined()
  })

  it('is never read from a text that it would not be written as', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const subject = parseDescriptor(text)
        expect(subject === undefined || describe(subject) === text).toBe(true)
      }),
    )
  })

  it('is not made for a tenant that cannot exist', () => {
    expect(() => describe({ family: 'sqlite_tenant', tenant: '../x' })).toThrow(NimbusError)
    expect(() => servedName({ family: 'redb_tenant', tenant: '' })).toThrow(NimbusError)
  })
})

group('a tenant id', () => {
  it.each(['a', '0', 'demo', 'a-b_c', '0-0', 'x'.repeat(48)])('may be %j', (id) => {
    expect(parseTenantId(id)).toBe(id)
  })

  it.each([
    '',
    '.',
    '..',
    '../demo',
    'demo/../x',
    '/demo',
    'demo/',
    'a\\b',
    'demo\0',
    'demo\n',
    '\ndemo',
    'demo ',
    '-demo',
    '_demo',
    'Demo',
    'DEMO',
    'dém',
    'demo.sqlite3',
    'a%2fb',
    'x'.repeat(49),
    'ａ',
    '__proto__',
  ])('is not %j', (id) => {
    expect(isTenantId(id)).toBe(false)
    expect(() => parseTenantId(id)).toThrow(expect.objectContaining({ code: 'invalid_tenant_id' }))
  })

  it('that is refused is quoted in the message without its control characters, and not at full length', () => {
    const hostile = `\u001b[2J\u009b31m\u202e${'x'.repeat(10_000)}`
    const message = thrownBy(() => parseTenantId(hostile)).message
    expect(message).not.toMatch(/[\p{Cc}\u202e]/u)
    expect(message.length).toBeLessThan(200)
  })
})

group('a key file name', () => {
  it('is the descriptor in hex, as the reference has it', () => {
    expect(keyFileName('db:sqlite:tenant:demo:demo.sqlite3')).toBe(
      '64623a73716c6974653a74656e616e743a64656d6f3a64656d6f2e73716c69746533.key',
    )
  })

  it('fits into a file system for the longest tenant id of every family', () => {
    const tenant = 'x'.repeat(48)
    for (const family of ['sqlite_tenant', 'redb_tenant', 'libsql_cache'] as const) {
      expect(keyFileName(describe({ family, tenant })).length).toBeLessThan(255)
    }
  })
})

function thrownBy(action: () => unknown): NimbusError {
  try {
    action()
  } catch (error) {
    if (error instanceof NimbusError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
