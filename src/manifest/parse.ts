/** The strict reader: accepts exactly the bytes that `encode.ts` would write, and names every class of damage. */
import { NimbusError } from '../errors.js'
import { MANIFEST_FORMAT, MANIFEST_VERSION } from '../keys/binding.js'
import { type Profile, cipherOfProfile, cipherOfFamily, isProfile } from '../keys/profile.js'
import { quote } from '../keys/quote.js'
import { type FileSubject, parseDescriptor } from '../keys/subject.js'
import { diagnoseText } from './diagnose.js'
import { TAIL_BYTES, encodeBody, encodeManifest } from './encode.js'
import type { Manifest, Slot, StoredManifest } from './manifest.js'

/** A manifest with two slots wrapped by a KMS has about 15 KB. */
export const MAX_MANIFEST_BYTES = 64 * 1024

const FIELDS = 'format version subject cipher profile state created_at rotated_at current next mac'.split(' ')
const SLOT_FIELDS = 'generation file_id provider hint key_id salt commitment wrapped'.split(' ')

const MAX_GENERATION = 2n ** 64n - 1n
const MAX_WRAPPED_BYTES = 8192
const MAX_HINT_LENGTH = 4096
const GENERATION = /^[1-9][0-9]{0,19}$/
const PROVIDER = /^[a-z][a-z0-9_]{0,31}$/
const KEY_ID = /^[\x21-\x7e]{1,2048}$/
const HEX = /^(?:[0-9a-f]{2})+$/
/** Control characters, which a terminal would obey, and halves of surrogate pairs, which have no UTF-8. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * What the bytes say. `path` is the manifest's, for messages.
 *
 * `JSON.parse` merges duplicate members and forgives spaces, number forms and escapes, so nothing rests on it: at the end
 * the canonical encoding of what was understood must equal the bytes, all of them.
 *
 * @throws `manifest_altered`; `detail.reason` is the class, one of `ManifestDefect`.
 */
export function parseManifest(bytes: Uint8Array, path: string): StoredManifest {
  return new Reader(path).manifest(bytes)
}

/** What a manifest can be refused for before any key is touched. */
export type ManifestDefect =
  | 'empty'
  | 'oversize'
  | 'bom'
  | 'not_utf8'
  | 'not_json'
  | 'truncated'
  | 'trailing_bytes'
  | 'duplicate_field'
  | 'not_canonical'
  | 'not_a_manifest'
  | 'unknown_version'
  | 'unknown_field'
  | 'missing_field'
  | 'bad_value'

/** What it can be refused for with the right key at hand: what it says was changed after it was written. */
export type KeyedDefect = 'wrapped_key' | 'mac'

/** The error for a manifest that cannot be believed. */
export function manifestAltered(
  path: string,
  reason: ManifestDefect | KeyedDefect,
  what: string,
  remediation?: string,
): NimbusError {
  return new NimbusError('manifest_altered', `sidecar manifest refused: ${path}: ${what}`, {
    path,
    remediation,
    detail: { reason },
  })
}

type Members = Readonly<Record<string, unknown>>

class Reader {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  manifest(bytes: Uint8Array): StoredManifest {
    const text = this.#decode(bytes)
    const members = this.#members(this.#json(text), FIELDS, '')
    const manifest = this.#content(members)
    const mac = this.#hex(members, 'mac', 32)
    const body = encodeBody(manifest)
    if (Buffer.compare(encodeManifest(body, mac), bytes) !== 0) {
      const { reason, what } = diagnoseText(text)
      throw this.#defect(reason, what)
    }
    return { manifest, body: bytes.subarray(0, bytes.length - TAIL_BYTES), mac }
  }

  #decode(bytes: Uint8Array): string {
    if (bytes.length === 0) throw this.#defect('empty', 'it is empty')
    if (bytes.length > MAX_MANIFEST_BYTES) throw this.#defect('oversize', 'it is larger than 64 KiB')
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
      throw this.#defect('bom', 'it begins with a byte order mark')
    }
    try {
      return UTF8.decode(bytes)
    } catch {
      throw this.#defect('not_utf8', 'it is not UTF-8 text')
    }
  }

  #json(text: string): unknown {
    try {
      return JSON.parse(text)
    } catch {
      const { reason, what } = diagnoseText(text)
      throw this.#defect(reason, what)
    }
  }

  #content(members: Members): Manifest {
    const subject = this.#subject(members)
    const profile = this.#profile(members, subject)
    const current = this.#slot(members, 'current')
    const next = members['next'] === null ? null : this.#slot(members, 'next')
    const createdAt = this.#time(members, 'created_at')
    const rotatedAt = members['rotated_at'] === null ? null : this.#time(members, 'rotated_at')
    const common = { subject, profile, createdAt, rotatedAt, current }
    const state = members['state']
    if (next === null) {
      if (state === 'creating' || state === 'active' || state === 'deleting') return { ...common, state, next }
      throw this.#bad('state', 'is not a state of a file without a `next` key')
    }
    if (state !== 'rotating') throw this.#bad('state', 'is not `rotating`, and yet there is a `next` key')
    if (next.generation !== current.generation + 1n) {
      throw this.#bad('next.generation', 'does not follow the generation of `current`')
    }
    return { ...common, state, next }
  }

  #subject(members: Members): FileSubject {
    const subject = parseDescriptor(this.#text(members, 'subject'))
    if (subject === undefined) throw this.#bad('subject', 'is not a descriptor')
    if (subject.family === 'vault') throw this.#bad('subject', 'is not the descriptor of a file')
    return subject
  }

  #profile(members: Members, subject: FileSubject): Profile {
    const profile = this.#text(members, 'profile')
    if (!isProfile(profile)) throw this.#bad('profile', 'is not a cipher profile of this version of nimbus')
    if (members['cipher'] !== cipherOfProfile(profile)) throw this.#bad('cipher', 'does not fit the profile')
    if (cipherOfFamily(subject.family) !== cipherOfProfile(profile))
      throw this.#bad('cipher', 'does not fit the subject')
    return profile
  }

  #slot(members: Members, name: string): Slot {
    const slot = this.#members(members[name], SLOT_FIELDS, `${name}.`)
    return {
      generation: this.#generation(slot, `${name}.generation`),
      fileId: this.#hex(slot, 'file_id', 16, name),
      provider: this.#matching(slot, `${name}.provider`, PROVIDER, 'is not the name of a key provider'),
      hint: this.#hint(slot, `${name}.hint`),
      keyId: this.#matching(slot, `${name}.key_id`, KEY_ID, 'is not a key id'),
      salt: this.#hex(slot, 'salt', 32, name),
      commitment: this.#hex(slot, 'commitment', 32, name),
      wrapped: this.#wrapped(slot, `${name}.wrapped`),
    }
  }

  #generation(slot: Members, field: string): bigint {
    const text = this.#matching(slot, field, GENERATION, 'is not a positive decimal number in quotes')
    const generation = BigInt(text)
    if (generation > MAX_GENERATION) throw this.#bad(field, 'is larger than 64 bits')
    return generation
  }

  #hint(slot: Members, field: string): string {
    const hint = this.#text(slot, field)
    if (hint.length > MAX_HINT_LENGTH || UNPRINTABLE.test(hint)) {
      throw this.#bad(field, 'is longer than 4,096 characters or holds control characters')
    }
    return hint
  }

  #wrapped(slot: Members, field: string): Uint8Array {
    const text = this.#matching(slot, field, HEX, 'is not an even number of lower-case hex digits')
    if (text.length > 2 * MAX_WRAPPED_BYTES) throw this.#bad(field, 'is longer than 8,192 bytes')
    return Buffer.from(text, 'hex')
  }

  #hex(members: Members, name: string, byteCount: number, slot?: string): Uint8Array {
    const field = slot === undefined ? name : `${slot}.${name}`
    const what = `is not ${2 * byteCount} lower-case hex digits`
    const text = this.#matching(members, field, HEX, what)
    if (text.length !== 2 * byteCount) throw this.#bad(field, what)
    return Buffer.from(text, 'hex')
  }

  #time(members: Members, field: string): string {
    const text = this.#text(members, field)
    const time = new Date(text)
    if (Number.isNaN(time.getTime()) || time.toISOString() !== text) {
      throw this.#bad(field, 'is not a time such as 2026-01-31T12:00:00.000Z')
    }
    return text
  }

  #matching(members: Members, field: string, pattern: RegExp, what: string): string {
    const text = this.#text(members, field)
    if (!pattern.test(text)) throw this.#bad(field, what)
    return text
  }

  /** `field` is the dotted name for messages; its last part is the name of the member. */
  #text(members: Members, field: string): string {
    const value = members[field.slice(field.lastIndexOf('.') + 1)]
    if (typeof value !== 'string') throw this.#bad(field, 'is not a text')
    return value
  }

  #members(value: unknown, names: readonly string[], prefix: string): Members {
    if (!isObject(value)) {
      if (prefix === '') throw this.#notAManifest()
      throw this.#bad(prefix.slice(0, -1), 'is not an object')
    }
    if (prefix === '') this.#version(value)
    const unknown = Object.keys(value).find((name) => !names.includes(name))
    if (unknown !== undefined) throw this.#defect('unknown_field', `it has an unknown field ${quote(prefix + unknown)}`)
    const missing = names.find((name) => !Object.hasOwn(value, name))
    if (missing !== undefined) throw this.#defect('missing_field', `the field ${quote(prefix + missing)} is missing`)
    return value
  }

  /** Before anything else is looked at: a newer version may have other fields, and deserves a better answer. */
  #version(members: Members): void {
    if (members['format'] !== MANIFEST_FORMAT) throw this.#notAManifest()
    const version = members['version']
    if (version === MANIFEST_VERSION) return
    const isNewer = typeof version === 'number' && Number.isSafeInteger(version) && version > MANIFEST_VERSION
    if (!isNewer) throw this.#defect('unknown_version', 'its version is not a number that nimbus ever wrote')
    throw manifestAltered(
      this.#path,
      'unknown_version',
      `its version is ${version}, which a newer nimbus wrote; this one reads version ${MANIFEST_VERSION}`,
      'Open the file with the version of nimbus that wrote it, or a newer one.',
    )
  }

  #notAManifest(): NimbusError {
    return this.#defect('not_a_manifest', 'it is not a manifest of nimbus')
  }

  #bad(field: string, what: string): NimbusError {
    return this.#defect('bad_value', `its field ${quote(field)} ${what}`)
  }

  #defect(reason: ManifestDefect, what: string): NimbusError {
    return manifestAltered(this.#path, reason, what)
  }
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
