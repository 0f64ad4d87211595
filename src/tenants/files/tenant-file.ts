/**
 * The life of a tenant's file, encrypted or plain: which files there are, and what any crash leaves for the next start.
 *
 * An encrypted file's state is in its manifest (`encryption/protect.ts`). A plain file has none, so an empty file beside it says
 * what its manifest would say. Each step is durable before the next begins:
 *
 * | stopped after       | on the disk                             | the next start              |
 * |---------------------|-----------------------------------------|-----------------------------|
 * | `announce`          | `<file>.creating`                       | removes it                  |
 * | the layout is laid  | `<file>.creating`, data, whole or part  | removes data, then marker   |
 * | `creating` removed  | data                                    | serves it                   |
 * | `deleting` written  | `<file>.deleting`, data                 | removes data, then marker   |
 * | the data is removed | `<file>.deleting`, data in part or none | removes the rest and marker |
 * | `deleting` removed  | nothing                                 | knows no such tenant        |
 *
 * A creation is acknowledged when the first table's third row is reached, a deletion counts from the fourth on. Each engine
 * has a suffix of its own in place of `.creating`, since redb's files are called that until they are whole.
 */
import { join } from 'node:path'
import { NimbusError } from '../../errors.js'
import {
  createProtected,
  dataFilesOf,
  markActive,
  markDeleting,
  openProtected,
  removeProtected,
} from '../../encryption/protect.js'
import type { KeyProvider } from '../../keys/provider.js'
import type { Profile } from '../../keys/profile.js'
import { type TenantFamily, servedName } from '../../keys/subject.js'
import { exists, manifestPathOf } from '../../manifest/file.js'
import { createFileExclusive, removeFileDurably } from '../../native.js'
import type { Engine, ServedTenant, TenantSubject } from './engine.js'

export const DELETING_SUFFIX = '.deleting'
const LOCK_SUFFIX = '.nimbus-lock'

export interface Encryption {
  readonly keys: KeyProvider
  /** Of files that are created; those that exist keep theirs. */
  readonly profile: Profile
}

/** A tenant by its file. Valid tenant ids only: the id becomes a path here. */
export class TenantFile {
  readonly path: string
  readonly #engine: Engine
  readonly #subject: TenantSubject
  readonly #encryption: Encryption | undefined

  constructor(engine: Engine, directory: string, tenant: string, encryption: Encryption | undefined) {
    this.#engine = engine
    this.#subject = { family: engine.family, tenant }
    this.path = join(directory, servedName(this.#subject))
    this.#encryption = encryption
  }

  /**
   * An empty tenant, durable. Returns when it was created, in milliseconds.
   *
   * @throws `target_exists` for a file that is there already; nothing is changed then. After any other error all is removed again.
   */
  async create(): Promise<number> {
    if (this.#encryption === undefined) return this.#createPlain()
    const { keys, profile } = this.#encryption
    const file = await createProtected(this.path, this.#subject, keys, profile)
    try {
      const createdAtMs = Date.parse(file.manifest.createdAt)
      await this.#engine.layOut(this.path, file, createdAtMs)
      await markActive(file)
      file.dek.close()
      return createdAtMs
    } catch (error) {
      await giveUp(() => removeProtected(file))
      throw error
    }
  }

  /** @throws what its engine throws; with encryption what `openProtected` throws */
  async open(): Promise<ServedTenant> {
    if (this.#encryption === undefined) return this.#engine.open(this.path, undefined)
    const file = await openProtected(this.path, this.#subject, this.#encryption.keys)
    try {
      return await this.#engine.open(this.path, file)
    } finally {
      // The store has a copy of the key that it needs.
      file.dek.close()
    }
  }

  /** Announces the deletion durably; what it returns then removes the tenant, once nobody has it open. */
  async markDeleting(): Promise<() => Promise<void>> {
    if (this.#encryption === undefined) {
      createFileExclusive(this.path + DELETING_SUFFIX, new Uint8Array(0))
      return async () => {
        removeFileDurably(this.path + LOCK_SUFFIX)
        removeMarked(this.path, this.#subject.family, DELETING_SUFFIX)
      }
    }
    const file = await openProtected(this.path, this.#subject, this.#encryption.keys)
    const deleting = await markDeleting(file)
    return async () => {
      removeFileDurably(this.path + LOCK_SUFFIX)
      await removeProtected(deleting)
    }
  }

  async #createPlain(): Promise<number> {
    for (const path of [...dataFilesOf(this.path, this.#subject.family), manifestPathOf(this.path)]) {
      if (await exists(path)) throw targetExists(path)
    }
    const marker = this.path + this.#engine.creatingSuffix
    if (!createFileExclusive(marker, new Uint8Array(0))) throw targetExists(marker)
    try {
      const createdAtMs = Date.now()
      await this.#engine.layOut(this.path, undefined, createdAtMs)
      removeFileDurably(marker)
      return createdAtMs
    } catch (error) {
      await giveUp(async () => {
        removeMarked(this.path, this.#subject.family, this.#engine.creatingSuffix)
      })
      throw error
    }
  }
}

/** What cannot be removed now, on a disk that fails, the next start removes: the error to report is the one before. */
async function giveUp(remove: () => Promise<void>): Promise<void> {
  await Promise.allSettled([remove()])
}

/** Removes what a plain file's marker condemns, the marker last. */
export function removeMarked(path: string, family: TenantFamily, suffix: string): void {
  for (const part of dataFilesOf(path, family)) removeFileDurably(part)
  removeFileDurably(path + suffix)
}

function targetExists(path: string): NimbusError {
  return new NimbusError('target_exists', `${path} exists already`, { path })
}
