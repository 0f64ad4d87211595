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
 * A creation is acknowledged when the first table's third row is reached, a deletion counts from the fourth on.
 */
import { join } from 'node:path'
import { NimbusError } from '../../errors.js'
import {
  type Protected,
  createProtected,
  dataFilesOf,
  markActive,
  markDeleting,
  openProtected,
  removeProtected,
} from '../../encryption/protect.js'
import type { KeyProvider } from '../../keys/provider.js'
import { type SqlcipherProfile, sqlcipherProfile } from '../../keys/profile.js'
import { type FileSubject, servedName } from '../../keys/subject.js'
import { exists, manifestPathOf } from '../../manifest/file.js'
import { SqliteStore, createFileExclusive, removeFileDurably } from '../../native.js'
import { layoutSteps } from './layout.js'

export const CREATING_SUFFIX = '.creating'
export const DELETING_SUFFIX = '.deleting'
const LOCK_SUFFIX = '.nimbus-lock'

export interface Encryption {
  readonly keys: KeyProvider
  /** Of files that are created; those that exist keep theirs. */
  readonly profile: SqlcipherProfile
}

/** A tenant by its file. Valid tenant ids only: the id becomes a path here. */
export class TenantFile {
  readonly path: string
  readonly #subject: FileSubject
  readonly #encryption: Encryption | undefined

  constructor(directory: string, tenant: string, encryption: Encryption | undefined) {
    this.#subject = { family: 'sqlite_tenant', tenant }
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
      await this.#layOut(createdAtMs, file)
      await markActive(file)
      file.dek.close()
      return createdAtMs
    } catch (error) {
      await giveUp(() => removeProtected(file))
      throw error
    }
  }

  /** @throws `data_missing`, `file_corrupt`, `file_busy`; with encryption those of `openProtected` */
  async open(): Promise<SqliteStore> {
    if (this.#encryption === undefined) return openStore(this.path, 'open', undefined)
    const file = await openProtected(this.path, this.#subject, this.#encryption.keys)
    try {
      return openStore(this.path, 'open', file)
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
        removeMarked(this.path, DELETING_SUFFIX)
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
    for (const path of [...dataFilesOf(this.path, 'sqlite_tenant'), manifestPathOf(this.path)]) {
      if (await exists(path)) throw targetExists(path)
    }
    const marker = this.path + CREATING_SUFFIX
    if (!createFileExclusive(marker, new Uint8Array(0))) throw targetExists(marker)
    try {
      const createdAtMs = Date.now()
      await this.#layOut(createdAtMs, undefined)
      removeFileDurably(marker)
      return createdAtMs
    } catch (error) {
      await giveUp(async () => {
        removeMarked(this.path, CREATING_SUFFIX)
      })
      throw error
    }
  }

  /** The layout reaches the data file itself: its first page must not be only in a log beside it. */
  async #layOut(createdAtMs: number, file: Protected | undefined): Promise<void> {
    const store = openStore(this.path, 'create', file)
    try {
      await store.write(layoutSteps(createdAtMs))
      await store.checkpoint()
    } finally {
      await store.close()
    }
  }
}

/** What cannot be removed now, on a disk that fails, the next start removes: the error to report is the one before. */
async function giveUp(remove: () => Promise<void>): Promise<void> {
  await Promise.allSettled([remove()])
}

/** Removes what a plain file's marker condemns, the marker last. */
export function removeMarked(path: string, suffix: typeof CREATING_SUFFIX | typeof DELETING_SUFFIX): void {
  for (const part of dataFilesOf(path, 'sqlite_tenant')) removeFileDurably(part)
  removeFileDurably(path + suffix)
}

function openStore(path: string, mode: 'open' | 'create', file: Protected | undefined): SqliteStore {
  const encryption = file && { dek: file.dek, fileId: file.fileId, profile: sqlcipherProfile(file.profile) }
  return SqliteStore.open({ path, mode, exclusive: true, encryption })
}

function targetExists(path: string): NimbusError {
  return new NimbusError('target_exists', `${path} exists already`, { path })
}
