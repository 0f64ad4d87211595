/**
 * How a store's file is opened: plain, under a key that the caller keeps, or under one that a key provider wraps.
 *
 * Everything happens under the file's lock, which the store then keeps. A file with a provider goes through the states of
 * `encryption/protect.ts`, so a crash while it is made leaves nothing that the next opening does not settle. A file under the
 * caller's key has no manifest: its id stands in its superblock, and whether the key is right, in its commitment.
 */
import { basename, dirname, extname, join, resolve } from 'node:path'
import { NimbusError } from '../errors.js'
import { checkPlain, checkProtected } from '../encryption/check.js'
import { contentsOf, readFileHead, sealedFileIds } from '../encryption/head.js'
import { type Protected, createProtected, markActive } from '../encryption/protect.js'
import { type KeyProviderOption, withKeyProvider } from '../keys/option.js'
import type { KeyProvider } from '../keys/provider.js'
import { parseTenantId, type FileSubject } from '../keys/subject.js'
import { exists, manifestPathOf } from '../manifest/file.js'
import { type Dek, FileLock, KvStore, randomBytes } from '../native.js'

export interface FileOptions {
  /** The file; its directory must exist. `<path>.nimbus-lock` beside it stays there for good. */
  readonly path: string
  /** `open`: it must exist. `create`: it must not. Without a mode it is opened, or made if it is not there. */
  readonly mode?: 'open' | 'create' | undefined
  /**
   * Wraps a key that is made for this file alone; the wrapped key lies in `<path>.nimbus-enc`. A provider, which stays its owner's, or the
   * settings of a built-in one, which is opened for this file.
   */
  readonly keyProvider?: KeyProviderOption | undefined
  /** With a provider: whose file it is, `[a-z0-9][a-z0-9_-]{0,47}`. Without it, the file's name before its extension. */
  readonly name?: string | undefined
}

/** With the caller's key as a handle, so that whoever opens more than once need not keep its bytes. */
export interface OpenOptions extends FileOptions {
  readonly dek?: Dek | undefined
}

export interface Opened {
  readonly store: KvStore
  /** Of the directory, together with others that work in it: no server takes it over meanwhile. */
  readonly lock: FileLock
}

const DIRECTORY_LOCK = '.nimbus.lock'
const FILE_LOCK_SUFFIX = '.nimbus-lock'
/** Of a key that the caller keeps: nobody rotates it. */
const GENERATION = 1n

/**
 * @throws `data_missing`, `target_exists` as the mode says; `file_busy` with the owner's pid; `key_wrong`; `file_corrupt`;
 * `encrypted_but_disabled` for an encrypted file without a key, `config_invalid` for a key with a file that is not under it; with a
 * provider `manifest_missing`, `manifest_altered`, `manifest_mismatch` and its own.
 */
export async function openStore(options: OpenOptions): Promise<Opened> {
  const { path, mode, dek, keyProvider } = options
  if (dek !== undefined && keyProvider !== undefined) throw new TypeError('give key or keyProvider, not both')
  if (mode === 'open' && !(await exists(path)) && !(await exists(manifestPathOf(path)))) throw missing(path)
  const directory = FileLock.shared(join(dirname(path), DIRECTORY_LOCK))
  try {
    const lock = FileLock.exclusive(path + FILE_LOCK_SUFFIX)
    try {
      return { store: await openLocked(options, lock), lock: directory }
    } finally {
      // The store's by now, unless nothing was opened.
      lock.release()
    }
  } catch (error) {
    directory.release()
    throw error
  }
}

async function openLocked(options: OpenOptions, lock: FileLock): Promise<KvStore> {
  const { path, dek, keyProvider } = options
  if (keyProvider !== undefined) {
    const keysMayNotLieIn = [dirname(resolve(path))]
    return withKeyProvider(keyProvider, keysMayNotLieIn, (provider) => openWithProvider(options, provider, lock))
  }
  if (dek !== undefined) return openWithKey(options, dek, lock)
  const head = await readFileHead(path)
  if (head !== undefined && sealedFileIds(head).length > 0) {
    throw new NimbusError('encrypted_but_disabled', `${path} is encrypted`, {
      path,
      remediation: 'Open it with the key or the keyProvider that it was made with.',
    })
  }
  await checkPlain(path, { family: 'control_plane' })
  return KvStore.openAsync({ path, lock, mode: await modeOf(options) })
}

async function openWithKey(options: OpenOptions, dek: Dek, lock: FileLock): Promise<KvStore> {
  const { path } = options
  const manifestPath = manifestPathOf(path)
  if (await exists(manifestPath)) {
    throw new NimbusError('config_invalid', `${path} has a key of its own, wrapped in ${manifestPath}`, {
      path,
      remediation: 'Open it with the keyProvider that wrapped it.',
    })
  }
  const mode = await modeOf(options)
  if (mode === 'create') {
    return KvStore.openAsync({ path, lock, mode, encryption: { dek, fileId: randomBytes(16), generation: GENERATION } })
  }
  const head = await readFileHead(path)
  if (contentsOf(head) === 'plaintext') {
    throw new NimbusError('config_invalid', `${path} is not encrypted`, {
      path,
      remediation: 'Open it without a key, and copy what it holds into a new store with one.',
    })
  }
  const [fileId] = head === undefined ? [] : sealedFileIds(head)
  if (fileId === undefined) throw new NimbusError('file_corrupt', `${path} is not a sealed redb file`, { path })
  return KvStore.openAsync({ path, lock, mode, encryption: { dek, fileId, generation: GENERATION } })
}

async function openWithProvider(options: OpenOptions, provider: KeyProvider, lock: FileLock): Promise<KvStore> {
  const { path, mode, name } = options
  const subject: FileSubject = { family: 'redb_tenant', tenant: parseTenantId(name ?? basename(path, extname(path))) }
  const isThere = (await exists(path)) || (await exists(manifestPathOf(path)))
  const file = isThere ? await checkProtected(path, subject, provider) : undefined
  if (file === undefined && mode === 'open') throw missing(path)
  if (file !== undefined && mode === 'create') {
    file.dek.close()
    throw new NimbusError('target_exists', `${path} exists already`, { path })
  }
  if (file === undefined)
    return createWithManifest(await createProtected(path, subject, provider, 'sealed-redb-1'), lock)
  try {
    return await openProtected(file, 'open', lock)
  } finally {
    file.dek.close()
  }
}

/** After a failure the manifest says `creating`: the next opening takes away whatever is there. The lock is gone with the store. */
async function createWithManifest(file: Protected, lock: FileLock): Promise<KvStore> {
  try {
    const store = await openProtected(file, 'create', lock)
    try {
      await markActive(file)
    } catch (error) {
      await store.close()
      throw error
    }
    return store
  } finally {
    file.dek.close()
  }
}

async function openProtected(
  { path, dek, fileId, manifest }: Protected,
  mode: 'open' | 'create',
  lock: FileLock,
): Promise<KvStore> {
  return KvStore.openAsync({ path, mode, lock, encryption: { dek, fileId, generation: manifest.current.generation } })
}

async function modeOf({ path, mode }: OpenOptions): Promise<'open' | 'create'> {
  return mode ?? ((await exists(path)) ? 'open' : 'create')
}

function missing(path: string): NimbusError {
  return new NimbusError('data_missing', `${path} does not exist`, { path })
}
