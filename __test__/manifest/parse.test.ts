import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import { encodeBody, encodeManifest } from '../../src/manifest/encode.js'
import { type ManifestDefect, parseManifest } from '../../src/manifest/parse.js'
import { MAC, MANIFEST, SLOT, macs, manifests } from './arbitrary.js'

const PATH = '/data/demo.sqlite3.nimbus-enc'
const GOOD = Buffer.from(encodeManifest(encodeBody(MANIFEST), MAC)).toString('utf8')
const ROTATING = Buffer.from(
  encodeManifest(encodeBody({ ...MANIFEST, state: 'rotating', next: { ...SLOT, generation: 2n } }), MAC),
).toString('utf8')

const SALT = '22'.repeat(32)

/** One damage of each kind that a file can suffer, with the class that it must be given. */
const damages: [name: string, reason: ManifestDefect, text: string | Uint8Array, says: string][] = [
  ['an empty file', 'empty', '', 'it is empty'],
  ['64 KiB and a byte', 'oversize', `${GOOD}${' '.repeat(65_537 - GOOD.length)}`, 'larger than 64 KiB'],
  ['a byte order mark', 'bom', `\ufeff${GOOD}`, 'byte order mark'],
  ['UTF-16', 'not_utf8', Buffer.from(`\ufeff${GOOD}`, 'utf16le'), 'not UTF-8'],
  ['a byte that is not UTF-8', 'not_utf8', Buffer.from(GOOD.replace('/secure', '/\xff'), 'latin1'), 'not UTF-8'],
  ['zeros', 'not_json', Buffer.alloc(900), 'not JSON from character 0 on'],
  ['a NUL in a text', 'not_json', GOOD.replace('/secure', '/\0'), 'not JSON'],
  ['half of it', 'truncated', GOOD.slice(0, 300), 'cut off after 300 characters'],
  ['all but the last line end', 'truncated', GOOD.slice(0, -1), 'last line end is missing'],
  ['a second line end', 'trailing_bytes', `${GOOD}\n`, '1 byte follows'],
  ['a letter behind the end', 'trailing_bytes', `${GOOD}x`, '1 byte follows'],
  ['two manifests in one file', 'trailing_bytes', GOOD + GOOD, `${GOOD.length} bytes follow`],
  ['a space for the line end', 'trailing_bytes', `${GOOD.slice(0, -1)} `, '1 byte follows'],
  ['CRLF', 'trailing_bytes', GOOD.replace('\n', '\r\n'), '2 bytes follow'],
  ['a member twice', 'duplicate_field', GOOD.replace('{', '{"state":"active",'), '"state" occurs twice'],
  ['a member twice, escaped', 'duplicate_field', GOOD.replace('{', '{"st\\u0061te":"active",'), '"state" occurs twice'],
  [
    'a member of a slot twice',
    'duplicate_field',
    GOOD.replace('"salt"', `"salt":"${SALT}","salt"`),
    '"salt" occurs twice',
  ],
  ['a space', 'not_canonical', GOOD.replace(',', ', '), 'spaces'],
  ['other order', 'not_canonical', reordered(GOOD, '"profile"', '"state"'), 'order of fields'],
  ['an escape that is not needed', 'not_canonical', GOOD.replace('"active"', '"\\u0061ctive"'), 'escapes'],
  ['an escaped slash', 'not_canonical', GOOD.replace('/secure', '\\/secure'), 'escapes'],
  ['another spelling of a number', 'not_canonical', GOOD.replace('"version":1', '"version":1.0'), 'numbers'],
  ['an array', 'not_a_manifest', '[]\n', 'not a manifest'],
  ['a number', 'not_a_manifest', '1\n', 'not a manifest'],
  ['null', 'not_a_manifest', 'null\n', 'not a manifest'],
  ['a SQLite database', 'not_json', `SQLite format 3\0${'x'.repeat(80)}`, 'not JSON from character 0 on'],
  ['the JSON of somebody else', 'not_a_manifest', '{"format":"other","version":1}\n', 'not a manifest'],
  ['no members', 'not_a_manifest', '{}\n', 'not a manifest'],
  ['version 2', 'unknown_version', '{"format":"nimbus-enc","version":2,"shiny":true}\n', 'a newer nimbus wrote'],
  ['version 0', 'unknown_version', GOOD.replace('"version":1', '"version":0'), 'not a number that nimbus ever wrote'],
  [
    'version "1"',
    'unknown_version',
    GOOD.replace('"version":1', '"version":"1"'),
    'not a number that nimbus ever wrote',
  ],
  [
    'version 1.5',
    'unknown_version',
    GOOD.replace('"version":1', '"version":1.5'),
    'not a number that nimbus ever wrote',
  ],
  ['no version', 'unknown_version', GOOD.replace('"version":1,', ''), 'not a number that nimbus ever wrote'],
  ['an unknown member', 'unknown_field', GOOD.replace('"mac"', '"color":"red","mac"'), 'unknown field "color"'],
  ['an unknown member of a slot', 'unknown_field', GOOD.replace('"salt"', '"pepper":1,"salt"'), '"current.pepper"'],
  ['__proto__', 'unknown_field', GOOD.replace('"mac"', '"__proto__":{"state":"active"},"mac"'), '"__proto__"'],
  ['constructor', 'unknown_field', GOOD.replace('"mac"', '"constructor":1,"mac"'), '"constructor"'],
  ['a member less', 'missing_field', GOOD.replace('"rotated_at":null,', ''), '"rotated_at" is missing'],
  ['no MAC', 'missing_field', GOOD.replace(/,"mac":"[0-9a-f]+"/, ''), '"mac" is missing'],
  ['a member of a slot less', 'missing_field', GOOD.replace(`"salt":"${SALT}",`, ''), '"current.salt" is missing'],
  [
    'no slot',
    'bad_value',
    GOOD.replace(/"current":\{.*\},"next"/, '"current":null,"next"'),
    '"current" is not an object',
  ],
  ['upper-case hex', 'bad_value', GOOD.replace('"55', '"5A').replace('5A', 'AA'), '"mac" is not 64 lower-case hex'],
  ['short hex', 'bad_value', GOOD.replace(SALT, SALT.slice(2)), '"current.salt" is not 64 lower-case hex'],
  ['odd hex', 'bad_value', GOOD.replace('4444"', '444"'), '"current.wrapped" is not an even number'],
  ['no hex', 'bad_value', GOOD.replace('"file_id":"11', '"file_id":"zz'), '"current.file_id" is not 32'],
  ['too much hex', 'bad_value', GOOD.replace('"4444', `"${'44'.repeat(8192)}4444`), 'longer than 8,192 bytes'],
  ['generation 0', 'bad_value', generation('"0"'), '"current.generation" is not a positive decimal'],
  ['generation 01', 'bad_value', generation('"01"'), '"current.generation" is not a positive decimal'],
  ['generation -1', 'bad_value', generation('"-1"'), '"current.generation" is not a positive decimal'],
  ['generation 1e3', 'bad_value', generation('"1e3"'), '"current.generation" is not a positive decimal'],
  ['generation as a number', 'bad_value', generation('1'), '"current.generation" is not a text'],
  ['generation 2^64', 'bad_value', generation('"18446744073709551616"'), 'larger than 64 bits'],
  [
    'a subject of no kind',
    'bad_value',
    GOOD.replace('db:sqlite:tenant', 'db:oracle:tenant'),
    '"subject" is not a descriptor',
  ],
  ['two tenants in one', 'bad_value', GOOD.replace('demo.sqlite3', 'other.sqlite3'), '"subject" is not a descriptor'],
  [
    'the vault',
    'bad_value',
    GOOD.replace('db:sqlite:tenant:demo:demo.sqlite3', 'vault:kek'),
    'not the descriptor of a file',
  ],
  [
    'a redb file in SQLCipher',
    'bad_value',
    GOOD.replace('db:sqlite:tenant:demo:demo.sqlite3', 'db:redb:tenant:demo:demo.redb'),
    'does not fit the subject',
  ],
  [
    'an unknown profile',
    'bad_value',
    GOOD.replace('sqlcipher-4-sha256', 'sqlcipher-3'),
    '"profile" is not a cipher profile',
  ],
  [
    'a profile called toString',
    'bad_value',
    GOOD.replace('sqlcipher-4-sha256', 'toString'),
    '"profile" is not a cipher profile',
  ],
  [
    'another cipher',
    'bad_value',
    GOOD.replace('"cipher":"sqlcipher"', '"cipher":"none"'),
    '"cipher" does not fit the profile',
  ],
  ['an unknown state', 'bad_value', GOOD.replace('"active"', '"asleep"'), '"state" is not a state'],
  ['rotating without next', 'bad_value', GOOD.replace('"active"', '"rotating"'), '"state" is not a state'],
  ['next without rotating', 'bad_value', ROTATING.replace('"rotating"', '"active"'), '"state" is not `rotating`'],
  [
    'an old next',
    'bad_value',
    ROTATING.replace('"generation":"2"', '"generation":"1"'),
    '"next.generation" does not follow',
  ],
  [
    'a skipped generation',
    'bad_value',
    ROTATING.replace('"generation":"2"', '"generation":"3"'),
    '"next.generation" does not follow',
  ],
  ['a time with an offset', 'bad_value', GOOD.replace('00.000Z', '00.000+00:00'), '"created_at" is not a time'],
  ['a day that does not exist', 'bad_value', GOOD.replace('01-31', '02-31'), '"created_at" is not a time'],
  [
    'a time that is none',
    'bad_value',
    GOOD.replace('2026-01-31T12:00:00.000Z', 'yesterday'),
    '"created_at" is not a time',
  ],
  [
    'a number for a time',
    'bad_value',
    GOOD.replace('"rotated_at":null', '"rotated_at":0'),
    '"rotated_at" is not a text',
  ],
  [
    'a provider with a space',
    'bad_value',
    GOOD.replace('master_key_file', 'master key'),
    '"current.provider" is not the name',
  ],
  ['an empty key id', 'bad_value', GOOD.replace(SLOT.keyId, ''), '"current.key_id" is not a key id'],
  ['a key id with a line end', 'bad_value', GOOD.replace(SLOT.keyId, 'a\\nb'), '"current.key_id" is not a key id'],
  ['a hint that moves the cursor', 'bad_value', GOOD.replace('/secure', '\\u001b[2J'), '"current.hint" is longer'],
  ['a hint with half a character', 'bad_value', GOOD.replace('/secure', '\\ud83d'), '"current.hint" is longer'],
  ['an endless hint', 'bad_value', GOOD.replace('/secure', 'x'.repeat(4097)), '"current.hint" is longer'],
  ['10,000 brackets', 'not_json', '['.repeat(10_000), 'not JSON'],
]

describe('the strict reader', () => {
  it('accepts what nimbus writes', () => {
    expect(parseManifest(Buffer.from(GOOD), PATH).manifest).toEqual(MANIFEST)
    expect(parseManifest(Buffer.from(ROTATING), PATH).manifest.next?.generation).toBe(2n)
  })

  it.each(damages)('refuses %s as %s', (_name, reason, damaged, says) => {
    const error = refusal(damaged)
    expect(error).toMatchObject({ code: 'manifest_altered', path: PATH, detail: { reason } })
    expect(error.message).toContain(PATH)
    expect(error.message).toContain(says)
    expect(error.message).not.toMatch(/\p{Cc}/u)
  })

  it('says of a newer version what to do about it', () => {
    const error = refusal(GOOD.replace('"version":1', '"version":2'))
    expect(error.message).toContain('its version is 2, which a newer nimbus wrote; this one reads version 1')
    expect(error.remediation).toContain('the version of nimbus that wrote it')
  })

  it('refuses every truncation', () => {
    const bytes = Buffer.from(GOOD)
    for (let length = 0; length < bytes.length; length++) {
      const reason = refusal(bytes.subarray(0, length)).detail['reason']
      expect(reason).toBe(length === 0 ? 'empty' : 'truncated')
    }
  })

  it('refuses every spelling but one: an accepted text is the canonical one of what was understood', () => {
    const spelling = fc.constantFrom(' ', '\n', '\t', '\\u0061', '1.0', '{}', '"', ',', '}', '0', 'e')
    fc.assert(
      fc.property(fc.nat(GOOD.length), spelling, fc.nat(3), (at, inserted, removed) => {
        const edited = GOOD.slice(0, at) + inserted + GOOD.slice(at + removed)
        fc.pre(edited !== GOOD)
        try {
          const { manifest, mac } = parseManifest(Buffer.from(edited), PATH)
          expect(Buffer.from(encodeManifest(encodeBody(manifest), mac)).toString()).toBe(edited)
        } catch (error) {
          expect(error).toMatchObject({ code: 'manifest_altered' })
        }
      }),
      { numRuns: 5000 },
    )
  })

  it('answers any bytes at all with a manifest or with manifest_altered', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 2000 }), fc.json().map(Buffer.from)), (bytes) => {
        expect(refusal(bytes).code).toBe('manifest_altered')
      }),
      { numRuns: 2000 },
    )
  })

  it('accepts for each family the profiles of its cipher, and no mixture of a family, a cipher and a profile', () => {
    const ciphers = { sqlcipher: ['sqlcipher-4', 'sqlcipher-4-sha256'], 'aes-256-gcm-siv': ['sealed-redb-1'] }
    const owners = {
      'db:sqlite:tenant:demo:demo.sqlite3': 'sqlcipher',
      'db:libsql:cache:demo:demo.sqlite3': 'sqlcipher',
      'db:redb:tenant:demo:demo.redb': 'aes-256-gcm-siv',
      'db:redb:control:nimbus-control.db': 'aes-256-gcm-siv',
    }
    let accepted = 0
    for (const [subject, itsCipher] of Object.entries(owners)) {
      for (const [cipher, itsProfiles] of Object.entries(ciphers)) {
        for (const profile of Object.values(ciphers).flat()) {
          const text = GOOD.replace('db:sqlite:tenant:demo:demo.sqlite3', subject)
            .replace('"cipher":"sqlcipher"', `"cipher":"${cipher}"`)
            .replace('sqlcipher-4-sha256', profile)
          if (cipher === itsCipher && itsProfiles.includes(profile)) {
            expect(parseManifest(Buffer.from(text), PATH).manifest).toMatchObject({ profile })
            accepted += 1
          } else {
            expect(refusal(text)).toMatchObject({ code: 'manifest_altered', detail: { reason: 'bad_value' } })
          }
        }
      }
    }
    expect(accepted).toBe(6)
  })

  it('takes the exact stored bytes as what the MAC covers', () => {
    fc.assert(
      fc.property(manifests, macs, (manifest, mac) => {
        const bytes = encodeManifest(encodeBody(manifest), mac)
        const { body } = parseManifest(bytes, PATH)
        expect(body.buffer).toBe(bytes.buffer)
        expect(Buffer.from(bytes.subarray(body.length)).toString()).toBe(`,"mac":"${mac.toString('hex')}"}\n`)
      }),
    )
  })
})

function refusal(damaged: string | Uint8Array): NimbusError {
  try {
    parseManifest(Buffer.from(damaged), PATH)
  } catch (error) {
    if (error instanceof NimbusError) return error
    throw error
  }
  throw new Error('the reader accepted it')
}

function generation(value: string): string {
  return GOOD.replace('"generation":"1"', `"generation":${value}`)
}

/** Two neighbouring members of the object, swapped. */
function reordered(text: string, first: string, second: string): string {
  const members = new RegExp(`(${first}:"[^"]*"),(${second}:"[^"]*")`)
  return text.replace(members, '$2,$1')
}
