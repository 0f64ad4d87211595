/**
 * Opening and creating protected files for callers who cannot wait, with a provider whose KEK is in this process. The protocol is
 * that of `protect.ts`, `settle.ts` and `check.ts`; only a rotation, which reads every page, is not settled here.
 */
import { NimbusError } from '../errors.js'
import type { Profile } from '../keys/profile.js'
import type { ImmediateKeys, KeyProvider } from '../keys/provider.js'
import type { FileSubject } from '../keys/subject.js'
import { type Disk, existsAtOnce, manifestPathOf, nativeDisk, readManifestAtOnce } from '../manifest/file.js'
import { bindingOf } from '../manifest/manifest.js'
import { requireFileId, withoutManifest } from './check.js'
import { readFileHeadAtOnce } from './head.js'
import {
  announce,
  manifestMissing,
  newBinding,
  publishedFilesOf,
  removeParts,
  requireActive,
  targetExists,
} from './protect.js'
import { type Protected, authenticated, openedDek, requireKind, requireSubject } from './unlock.js'

export type ImmediateProvider = Pick<KeyProvider, 'kind' | 'describe'> & { readonly atOnce: ImmediateKeys }

/** As `checkProtected`. @throws `file_busy` besides while a rotation is pending */
export function checkProtectedAtOnce(
  path: string,
  subject: FileSubject,
  provider: ImmediateProvider,
  disk: Disk = nativeDisk,
): Protected | undefined {
  const file = unlockAtOnce(path, subject, provider)
  if (file === undefined) throw withoutManifest(path, subject, readFileHeadAtOnce(path))
  try {
    if (file.manifest.state === 'rotating') throw rotationPending(path)
    if (file.manifest.state !== 'active') {
      removeParts(file, disk)
      file.dek.close()
      return undefined
    }
    requireFileId(path, file.manifest, readFileHeadAtOnce(path))
    return file
  } catch (error) {
    file.dek.close()
    throw error
  }
}

/** As `openProtected`. */
export function openProtectedAtOnce(path: string, subject: FileSubject, provider: ImmediateProvider): Protected {
  const file = unlockAtOnce(path, subject, provider)
  if (file === undefined) throw manifestMissing(path)
  return requireActive(file)
}

/** As `createProtected`. */
export function createProtectedAtOnce(
  path: string,
  subject: FileSubject,
  provider: ImmediateProvider,
  profile: Profile,
  disk: Disk = nativeDisk,
): Protected {
  const binding = newBinding(subject, profile)
  for (const part of publishedFilesOf(path, subject.family)) if (existsAtOnce(part)) throw targetExists(part)
  return announce(path, binding, provider.kind, provider.atOnce.newDek(binding), disk)
}

/** As `unlock`. */
function unlockAtOnce(path: string, subject: FileSubject, provider: ImmediateProvider): Protected | undefined {
  const manifestPath = manifestPathOf(path)
  const stored = readManifestAtOnce(manifestPath)
  if (stored === undefined) return undefined
  const { manifest } = stored
  requireSubject(manifest, subject, manifestPath)
  const slot = manifest.current
  requireKind(slot, provider, manifestPath)
  const result = provider.atOnce.unwrap(bindingOf(manifest, slot), slot, slot.commitment)
  return authenticated(path, stored, openedDek(result, slot, provider, manifestPath))
}

function rotationPending(path: string): NimbusError {
  return new NimbusError('file_busy', `a key rotation is pending for ${path}`, {
    path,
    remediation:
      'Open it with `await Database.open(...)`, or repeat the command that was interrupted: either settles it.',
  })
}
