/**
 * The life of `nimbus-control.db`: made by the first start, sealed if encryption is on, and from then on demanded.
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
import type { KeyProvider } from '../keys/provider.js'
import { type FileSubject, servedName } from '../keys/subject.js'
import { type Disk, exists, manifestPathOf, nativeDisk } from '../manifest/file.js'
import { type KvOptions, KvStore } from '../native.js'
import { type ControlFile, ControlStore } from './store.js'

export const CONTROL_PLANE: FileSubject = { family: 'control_plane' }

export interface ControlFileOptions {
  /** The caller holds its lock. */
  readonly directory: string
  /** Left out, the file is plain. */
  readonly keys?: KeyProvider | undefined
  readonly disk?: Disk | undefined
  readonly openFile?: ((options: KvOptions) => ControlFile) | undefined
}

export interface OpenedControlStore {
  readonly store: ControlStore
  readonly isNew: boolean
}

export function controlPlanePath(directory: string): string {
  return path.join(directory, servedName(CONTROL_PLANE))
}

/**
 * Opens the control plane, or makes it if there is none.
 *
 * @throws with encryption on those of `checkProtected`: `manifest_missing` for a plaintext file; off, `encrypted_but_disabled`;
 * `file_busy`, `file_corrupt`, `unsupported_for_provider` for a later layout
 */
export async function openControlStore(options: ControlFileOptions): Promise<OpenedControlStore> {
  const file = controlPlanePath(options.directory)
  const openFile = options.openFile ?? ((kv: KvOptions) => KvStore.open(kv))
  const { keys, disk = nativeDisk } = options
  return keys === undefined ? openPlain(file, openFile) : openSealed(file, keys, disk, openFile)
}

type OpenFile = (options: KvOptions) => ControlFile

async function openSealed(
  file: string,
  keys: KeyProvider,
  disk: Disk,
  openFile: OpenFile,
): Promise<OpenedControlStore> {
  const isThere = (await exists(file)) || (await exists(manifestPathOf(file)))
  const found = isThere ? await checkProtected(file, CONTROL_PLANE, keys, { disk }) : undefined
  if (found !== undefined) {
    try {
      const store = await laidOut(openFile({ path: file, mode: 'open', encryption: encryptionOf(found) }), file)
      return { store, isNew: false }
    } finally {
      // The file has a copy of the keys that it needs.
      found.dek.close()
    }
  }
  const creating = await createProtected(file, CONTROL_PLANE, keys, 'sealed-redb-1', disk)
  let store: ControlStore | undefined
  try {
    store = await laidOut(openFile({ path: file, mode: 'create', encryption: encryptionOf(creating) }), file)
    await markActive(creating, disk)
    creating.dek.close()
    return { store, isNew: true }
  } catch (error) {
    // What cannot be taken away now, the next start takes away: the error to report is this one.
    await Promise.allSettled([store?.close()])
    await Promise.allSettled([removeProtected(creating, disk)])
    throw error
  }
}

async function openPlain(file: string, openFile: OpenFile): Promise<OpenedControlStore> {
  await checkPlain(file, CONTROL_PLANE)
  const isNew = !(await exists(file))
  const store = await laidOut(openFile({ path: file, mode: isNew ? 'create' : 'open' }), file)
  return { store, isNew }
}

function encryptionOf({ dek, fileId, manifest }: Protected): NonNullable<KvOptions['encryption']> {
  return { dek, fileId, generation: manifest.current.generation }
}

async function laidOut(opened: ControlFile, file: string): Promise<ControlStore> {
  const store = new ControlStore(opened, file)
  try {
    await store.requireLayout()
    return store
  } catch (error) {
    await Promise.allSettled([store.close()])
    throw error
  }
}
