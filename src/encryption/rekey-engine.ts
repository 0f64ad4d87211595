/** What the engines do in a rotation of a DEK, as steps between which a test can kill the process. */
import { cipherOfProfile, sqlcipherProfile } from '../keys/profile.js'
import type { Manifest, Slot } from '../manifest/manifest.js'
import { type Dek, type EncryptedFile, type KeyCheck, type SealedFile } from '../native.js'
import { foldLog, keyOpens, rekey, reseal, sealOpens } from '../native.js'
import type { WorkOptions } from '../native.js'

export interface RekeyEngine {
  foldLog(file: EncryptedFile): Promise<void>
  rekey(file: EncryptedFile, next: Dek, options?: WorkOptions): Promise<void>
  /** `journaled`: what a rollback journal beside the file is under. */
  keyOpens(file: EncryptedFile, journaled: Dek, options: KeyCheck): Promise<boolean>
  reseal(current: SealedFile, next: SealedFile, options?: WorkOptions): Promise<void>
  sealOpens(file: SealedFile, options: KeyCheck): Promise<boolean>
}

export const nativeEngine: RekeyEngine = { foldLog, rekey, keyOpens, reseal, sealOpens }

/** A file as one of the slots of its manifest says that it is. */
export interface KeyedFile {
  readonly path: string
  readonly manifest: Manifest
  readonly slot: Slot
  readonly dek: Dek
}

/** A SQLite file under one of its DEKs. */
export function underSqlcipher({ path, manifest, slot, dek }: KeyedFile): EncryptedFile {
  return { path, encryption: { dek, fileId: slot.fileId, profile: sqlcipherProfile(manifest.profile) } }
}

/** A redb file under one of its DEKs. */
export function underSeal({ path, slot: { fileId, generation }, dek }: KeyedFile): SealedFile {
  return { path, encryption: { dek, fileId, generation } }
}

/** Whether the file is under this key, as far as its beginning tells, or all of it. `current`: the manifest's DEK of that name. */
export async function opensUnder(
  engine: RekeyEngine,
  file: KeyedFile,
  current: Dek,
  options: KeyCheck,
): Promise<boolean> {
  return cipherOfProfile(file.manifest.profile) === 'sqlcipher'
    ? engine.keyOpens(underSqlcipher(file), current, options)
    : engine.sealOpens(underSeal(file), options)
}
