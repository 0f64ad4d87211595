/** Key handles, randomness, and the memory that keys lie in. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { guard } from './failure.js'

export type { LockedMemory, MasterKey, WrappingKey } from '../../index.js'
export type Dek = Addon.Dek

export const Dek = {
  /** A new random DEK in locked native memory. */
  generate: (): Addon.Dek => guard(() => addon.Dek.generate()),
  /** A copy of 32 bytes, in locked native memory. Throws a `TypeError` for another length or 32 zero bytes. */
  given: (key: Uint8Array): Addon.Dek => guard(() => addon.Dek.given(key)),
}

/** `key`: a handle; `mode`: the permission bits of the file. Throws `key_missing`, `key_malformed` with `detail.reason`. */
export function readMasterKeyFile(path: string): { key: Addon.MasterKey; mode: number } {
  const key = guard(() => addon.MasterKey.read(path))
  return { key, mode: key.mode }
}

/** The same for the key of one subject. */
export function readSubjectKeyFile(path: string): { key: Addon.SubjectKey; mode: number } {
  const key = guard(() => addon.SubjectKey.read(path))
  return { key, mode: key.mode }
}

export const randomBytes = (count: number): Uint8Array => guard(() => addon.randomBytes(count))

/** Forbids core dumps and reading this process's memory (`PR_SET_DUMPABLE`, prctl(2)). */
export const hardenProcess = (): { dumpable: boolean } => ({ dumpable: addon.hardenProcess() })

/** `locked` is false when the lock limit was too small for the keys made so far: they could be swapped out. */
export const lockedMemory = (): { locked: boolean; lockedBytes: number; limitBytes: number | null } => {
  const { locked, lockedBytes, limitBytes } = addon.lockedMemory()
  return { locked, lockedBytes, limitBytes: limitBytes ?? null }
}

/** Known-answer tests only: they take keys as bytes. */
export const knownAnswers = {
  aes256GcmSivSeal: addon.aes256GcmSivSeal,
  aes256GcmSivOpen: addon.aes256GcmSivOpen,
  hkdfSha256: addon.hkdfSha256,
}

/**
 * Moves the data key out of the JSON answer of a KMS, in place; nothing if it has no `Plaintext`. Throws `kms_unavailable` for
 * an answer that is cut off or otherwise not one; the answer is zeros then.
 */
export const takeKeyFromKmsAnswer = (answer: Uint8Array): Addon.WrappingKey | undefined =>
  guard(() => addon.takeKeyFromKmsAnswer(answer)) ?? undefined

/** Moves 32 bytes into native memory: they are zeros afterwards. Throws `TypeError` for another length, `key_malformed` for zeros. */
export const takeDataKey = (bytes: Uint8Array): Addon.WrappingKey => guard(() => addon.takeDataKey(bytes))

/** Wipes what functions that have returned left on the stack. Only from the event loop: `await setImmediate()` first. */
export const wipeStack = (): void => addon.wipeStack()
