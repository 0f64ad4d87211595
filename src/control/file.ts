/**
 * The life of `nimbus-control.db`: made by the first start that finds nothing amiss, sealed if encryption is on.
 *
 * Sealed, it is made like any protected file (`encryption/protect.ts`); the layout is in it before its manifest says `active`:
 *
 * | stopped after              | on the disk                                  | the next start                     |
 * |----------------------------|----------------------------------------------|------------------------------------|
 * | `createProtected`          | manifest `creating`                          | removes it, and makes another      |
 * | the file is begun          | the same, `nimbus-control.db.creating`       | removes both, and makes another    |
 * | the file is published      | manifest `creating`, a file without tables   | removes both, and makes another    |
 * | the layout is written      | manifest `creating`, the file                | removes both, and makes another    |
 * | `markActive`               | manifest `active`, the file                  | opens it                           |
 *
 * Plain, there is no manifest: the file comes under its name by a rename, and one without tables is given its layout.
 */
import path from 'node:path'
import { checkPlain, checkProtected } from '../encryption/check.js'
import { type Protected, createProtected, markActive, removeProtected } from '../encryption/protect.js'
import type { SettleOptions } from '../encryption/settle.js'
import type { KeyProvider } from '../keys/provider.js'
import { type FileSubject, describe, servedName } from '../keys/subject.js'
import { type Disk, exists, manifestPathOf, nativeDisk } from '../manifest/file.js'
import { type KvOptions, KvStore } from '../native.js'
import { firstEvent } from './events.js'
import { type ControlFile, ControlStore } from './store.js'

export const CONTROL_PLANE: FileSubject = { family: 'control_plane' }

/** The note of the event that it begins with. */
export type ControlPlaneForm = 'encrypted' | 'plain'

export interface ControlFileOptions {
  /** The caller holds its lock. */
  readonly directory: string
  /** Left out, the file is plain. */
  readonly keys?: KeyProvider | undefined
  /** Told how a rotation of its DEK ended that was found interrupted. */
  readonly onRotation?: SettleOptions['onRotation']
  readonly disk?: Disk | undefined
  readonly openFile?: ((options: KvOptions) => ControlFile) | undefined
}

export function controlPlanePath(directory: string): string {
  return path.join(directory, servedName(CONTROL_PLANE))
}

/**
 * The control plane that is there; undefined if none is, or if its making was interrupted, which is then undone.
 *
 * @throws with encryption on those of `checkProtected`: `manifest_missing` for a plaintext file; off, `encrypted_but_disabled`;
 * `file_busy`, `file_corrupt`, `unsupported_for_provider` for a later layout
 */
export async function findControlStore(options: ControlFileOptions): Promise<ControlStore | undefined> {
  const file = controlPlanePath(options.directory)
  const { keys, disk = nativeDisk, onRotation, openFile = openNative } = options
  const isThere = (await exists(file)) || (await exists(manifestPathOf(file)))
  if (!isThere) return undefined
  if (keys === undefined) {
    await checkPlain(file, CONTROL_PLANE)
    return laidOut(openFile({ path: file, mode: 'open' }), file, 'plain')
  }
  const found = await checkProtected(file, CONTROL_PLANE, keys, { disk, onRotation })
  if (found === undefined) return undefined
  try {
    return await laidOut(openFile({ path: file, mode: 'open', encryption: encryptionOf(found) }), file, 'encrypted')
  } finally {
    // The file has a copy of the keys that it needs.
    found.dek.close()
  }
}

/** @throws `target_exists`; what the provider, the disk and the file throw. Nothing is there then, or the next start removes it. */
export async function createControlStore(options: ControlFileOptions): Promise<ControlStore> {
  const file = controlPlanePath(options.directory)
  const { keys, disk = nativeDisk, openFile = openNative } = options
  if (keys === undefined) return laidOut(openFile({ path: file, mode: 'create' }), file, 'plain')
  const creating = await createProtected(file, CONTROL_PLANE, keys, 'sealed-redb-1', disk)
  let store: ControlStore | undefined
  try {
    store = await laidOut(
      openFile({ path: file, mode: 'create', encryption: encryptionOf(creating) }),
      file,
      'encrypted',
    )
    await markActive(creating, disk)
    creating.dek.close()
    return store
  } catch (error) {
    // What cannot be taken away now, the next start takes away: the error to report is this one.
    await Promise.allSettled([store?.close()])
    await Promise.allSettled([removeProtected(creating, disk)])
    throw error
  }
}

/** The control plane is opened before every tenant and is asked less than any: a share of the first store would be taken from them. */
const CACHE_BYTES = 2 * 1_048_576

const openNative = (options: KvOptions): ControlFile => KvStore.open({ ...options, cacheBytes: CACHE_BYTES })

function encryptionOf({ dek, fileId, manifest }: Protected): NonNullable<KvOptions['encryption']> {
  return { dek, fileId, generation: manifest.current.generation }
}

async function laidOut(opened: ControlFile, file: string, form: ControlPlaneForm): Promise<ControlStore> {
  const store = new ControlStore(opened, file)
  try {
    await store.requireLayout([firstEvent(describe(CONTROL_PLANE), form)])
    return store
  } catch (error) {
    await Promise.allSettled([store.close()])
    throw error
  }
}
