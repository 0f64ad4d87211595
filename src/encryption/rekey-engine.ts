/** What SQLCipher does in a rotation of a DEK, as steps between which a test can kill the process. */
import { sqlcipherProfile } from '../keys/profile.js'
import { type Dek, type EncryptedFile, foldLog, keyOpens, rekey } from '../native.js'
import type { WorkOptions } from '../native.js'
import type { Protected } from './unlock.js'

export interface RekeyEngine {
  foldLog(file: EncryptedFile): Promise<void>
  rekey(file: EncryptedFile, next: Dek, options?: WorkOptions): Promise<void>
  keyOpens(file: EncryptedFile, options: WorkOptions & { everyPage: boolean }): Promise<boolean>
}

export const nativeEngine: RekeyEngine = { foldLog, rekey, keyOpens }

/** The file under one of its DEKs. */
export function under(
  { path, fileId, profile }: Pick<Protected, 'path' | 'fileId' | 'profile'>,
  dek: Dek,
): EncryptedFile {
  return { path, encryption: { dek, fileId, profile: sqlcipherProfile(profile) } }
}
