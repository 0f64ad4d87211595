/** What a change of the DEK of a SQLite file is made of, each step on a native thread. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import type { KvEncryption } from './kv-store.js'
import type { StoreEncryption } from './sqlite-store.js'
import { OTHER_KEY, type WorkOptions, longWork } from './work.js'

export interface KeyCheck extends WorkOptions {
  everyPage: boolean
}

/** A SQLite file that is encrypted. */
export interface EncryptedFile {
  path: string
  encryption: StoreEncryption
}

/** Folds the write-ahead log into the file and leaves it without one, durably. */
export async function foldLog({ path, encryption }: EncryptedFile): Promise<void> {
  await longWork({}, (onEvent) => addon.foldLog({ path, ...encryption }, onEvent))
}

/**
 * Writes every page of a file without a log anew, under the key of `next`; file id and profile stay. Whether it resolves or
 * rejects, only `keyOpens` tells which key the file is under.
 */
export async function rekey(
  { path, encryption }: EncryptedFile,
  next: Addon.Dek,
  options: WorkOptions = {},
): Promise<void> {
  const successor = { path, ...encryption, dek: next }
  await longWork(options, (onEvent) => addon.rekey({ path, ...encryption }, successor, onEvent))
}

/**
 * Whether the file is under this key; with `everyPage` each page is authenticated as well, and `file_corrupt` thrown if the first
 * one is under the key and another is not. Rolls back what a crash left, if that is under `journaled`, the key before; else it is
 * `file_corrupt`.
 */
export async function keyOpens(
  { path, encryption }: EncryptedFile,
  journaled: Addon.Dek,
  { everyPage, ...options }: KeyCheck,
): Promise<boolean> {
  const file = { path, ...encryption }
  const before = { ...file, dek: journaled }
  return answers(longWork(options, (onEvent) => addon.keyOpens(file, before, everyPage, onEvent)))
}

/** A sealed redb file. */
export interface SealedFile {
  path: string
  encryption: KvEncryption
}

/** Seals every page anew into the file `next`, which is replaced, durable and checked when it resolves; `current` is only read. */
export async function reseal(current: SealedFile, next: SealedFile, options: WorkOptions = {}): Promise<void> {
  const native = ({ path, encryption }: SealedFile) => ({ path, ...encryption })
  await longWork(options, (onEvent) => addon.reseal(native(current), native(next), onEvent))
}

/** Likewise for a sealed redb file; with `everyPage` redb reads all that it uses. */
export async function sealOpens(
  { path, encryption }: SealedFile,
  { everyPage, ...options }: KeyCheck,
): Promise<boolean> {
  return answers(longWork(options, (onEvent) => addon.sealOpens({ path, ...encryption }, everyPage, onEvent)))
}

/** What an examination of every page found. */
export interface Findings {
  pages: number
  logPages: number
  /** Pages that are lost. */
  damaged: readonly number[]
  /** Pages that do not authenticate and are not missed. */
  unreferenced: readonly number[]
}

/** Authenticates every page of a SQLite file at rest, and of its log; writes nothing. */
export function verifySqlite({ path, encryption }: EncryptedFile, options: WorkOptions): Promise<Findings> {
  return found(longWork(options, (onEvent) => addon.verifySqlite({ path, ...encryption }, onEvent)))
}

/** Likewise of a sealed redb file. */
export function verifyRedb({ path, encryption }: SealedFile, options: WorkOptions): Promise<Findings> {
  return found(longWork(options, (onEvent) => addon.verifyRedb({ path, ...encryption }, onEvent)))
}

async function found(work: Promise<Addon.NativeWorkEvent>): Promise<Findings> {
  const { findings } = await work
  if (findings === undefined) throw new TypeError('an examination ended without findings')
  return findings
}

/** Copies a file in one step, mode 0600, durable when it resolves; what is at `to` is replaced. */
export async function copyFileDurably(from: string, to: string, options: WorkOptions = {}): Promise<void> {
  await longWork(options, (onEvent) => addon.copyFileDurably(from, to, onEvent))
}

async function answers(work: Promise<unknown>): Promise<boolean> {
  try {
    await work
    return true
  } catch (error) {
    if (error === OTHER_KEY) return false
    throw error
  }
}
