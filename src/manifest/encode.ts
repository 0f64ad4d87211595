/** The one spelling of a manifest: a line of JSON without spaces, members in a fixed order, ended by its MAC. */
import { MANIFEST_FORMAT, MANIFEST_VERSION, hex } from '../keys/binding.js'
import { cipherOfProfile } from '../keys/profile.js'
import { describe } from '../keys/subject.js'
import type { Manifest, Slot } from './manifest.js'

const MAC_BYTES = 32
/** What follows the body: `,"mac":"`, 64 hex digits, `"}` and a line feed. */
export const TAIL_BYTES = `,"mac":"`.length + 2 * MAC_BYTES + `"}\n`.length

/** The bytes that the MAC covers: everything before `,"mac":"`. */
export function encodeBody(manifest: Manifest): Uint8Array {
  const text = JSON.stringify({
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
    subject: describe(manifest.subject),
    cipher: cipherOfProfile(manifest.profile),
    profile: manifest.profile,
    state: manifest.state,
    created_at: manifest.createdAt,
    rotated_at: manifest.rotatedAt,
    current: slotMembers(manifest.current),
    next: manifest.next === null ? null : slotMembers(manifest.next),
  })
  return Buffer.from(text.slice(0, -1), 'utf8')
}

/** The whole file. */
export function encodeManifest(body: Uint8Array, mac: Uint8Array): Uint8Array {
  return Buffer.concat([body, Buffer.from(`,"mac":"${hex(mac)}"}\n`, 'utf8')])
}

function slotMembers(slot: Slot): object {
  return {
    generation: slot.generation.toString(),
    file_id: hex(slot.fileId),
    provider: slot.provider,
    hint: slot.hint,
    key_id: slot.keyId,
    salt: hex(slot.salt),
    commitment: hex(slot.commitment),
    wrapped: hex(slot.wrapped),
  }
}
