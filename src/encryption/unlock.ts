/** From a manifest on the disk to an open DEK: nothing in the manifest is believed before this has succeeded. */
import { NimbusError } from '../errors.js'
import type { Profile } from '../keys/profile.js'
import type { KeyProvider, ProviderDescriptor, UnwrapResult } from '../keys/provider.js'
import { quote } from '../keys/quote.js'
import { type FileSubject, describe } from '../keys/subject.js'
import { manifestPathOf, readManifest } from '../manifest/file.js'
import { type Manifest, type Slot, type StoredManifest, bindingOf } from '../manifest/manifest.js'
import { manifestAltered } from '../manifest/parse.js'
import type { Dek } from '../native.js'

/** What messages say of a provider. */
type Named = Pick<KeyProvider, 'kind' | 'describe'>

/** A file with its authenticated manifest and its open DEK: what it takes to read and write it. */
export interface Protected {
  /** The data file, absolute or relative as the caller gave it. */
  readonly path: string
  readonly manifest: Manifest
  /** Closed by whoever asked for this object. */
  readonly dek: Dek
  /** 16 bytes that the file bears too: SQLCipher's salt, or the id in the superblock of a sealed redb file. */
  readonly fileId: Uint8Array
  readonly profile: Profile
}

/**
 * The file with its DEK, in whatever state its manifest is; `undefined` if it has no manifest. Reads only the manifest.
 *
 * Who it belongs to is compared first, then the KEK is asked, then the DEK's commitment and the MAC over the stored bytes.
 *
 * @throws `manifest_altered`, `manifest_mismatch` (another file's), `key_wrong`, and what the provider throws.
 */
export async function unlock(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
): Promise<Protected | undefined> {
  const manifestPath = manifestPathOf(path)
  const stored = await readManifest(manifestPath)
  if (stored === undefined) return undefined
  requireSubject(stored.manifest, subject, manifestPath)
  return unlockStored(path, stored, provider)
}

/**
 * What can be said of a manifest without its KEK: whose it is, and that the provider's key may be the one. Nothing in it is
 * authenticated by that.
 *
 * @throws `manifest_altered` for one that is none, `manifest_mismatch`, `key_wrong`.
 */
export async function inspect(
  path: string,
  subject: FileSubject,
  provider: KeyProvider,
): Promise<Manifest | undefined> {
  const manifestPath = manifestPathOf(path)
  const stored = await readManifest(manifestPath)
  if (stored === undefined) return undefined
  const { manifest } = stored
  requireSubject(manifest, subject, manifestPath)
  const { current } = manifest
  if (current.provider === provider.kind && provider.mayOpen?.(current.keyId) !== false) return manifest
  throw wrongKey(current, provider, undefined, manifestPath)
}

/**
 * As `unlock`, for a manifest that was read already, of whatever subject it says: for work on the manifest alone.
 *
 * @throws `manifest_altered`, `key_wrong`, and what the provider throws.
 */
export async function unlockStored(path: string, stored: StoredManifest, provider: KeyProvider): Promise<Protected> {
  const manifestPath = manifestPathOf(path)
  const { manifest } = stored
  return authenticated(path, stored, await unwrapSlot(manifest, manifest.current, provider, manifestPath))
}

/** The file, unless its DEK says that the manifest is not what nimbus wrote. @throws `manifest_altered`; the DEK is closed then */
export function authenticated(path: string, stored: StoredManifest, dek: Dek): Protected {
  if (!authenticates(dek, stored)) {
    dek.close()
    throw manifestAltered(manifestPathOf(path), 'mac', 'it is not what nimbus wrote for this key')
  }
  return protectedFile(path, stored.manifest, dek)
}

export function protectedFile(path: string, manifest: Manifest, dek: Dek): Protected {
  return { path, manifest, dek, fileId: manifest.current.fileId, profile: manifest.profile }
}

/** @throws `manifest_mismatch` */
export function requireSubject(manifest: Manifest, expected: FileSubject, manifestPath: string): void {
  const found = describe(manifest.subject)
  const wanted = describe(expected)
  if (found === wanted) return
  throw new NimbusError(
    'manifest_mismatch',
    `sidecar manifest belongs to another file: ${manifestPath} is for ${found}, expected ${wanted}`,
    { path: manifestPath, detail: { found, expected: wanted } },
  )
}

/**
 * The DEK of one slot, as its provider gives it out; the caller compares its commitment.
 *
 * @throws `manifest_altered`, `key_wrong`, and what the provider throws.
 */
export async function unwrapSlot(
  manifest: Manifest,
  slot: Slot,
  provider: KeyProvider,
  manifestPath: string,
): Promise<Dek> {
  requireKind(slot, provider, manifestPath)
  return openedDek(
    await provider.unwrap(bindingOf(manifest, slot), slot, slot.commitment),
    slot,
    provider,
    manifestPath,
  )
}

/** @throws `key_wrong` for what another kind of provider wrapped */
export function requireKind(slot: Slot, provider: Named, manifestPath: string): void {
  if (slot.provider !== provider.kind) throw wrongKey(slot, provider, undefined, manifestPath)
}

/** What a provider answered, as a DEK. @throws `manifest_altered`, `key_wrong` */
export function openedDek(result: UnwrapResult, slot: Slot, provider: Named, manifestPath: string): Dek {
  switch (result.outcome) {
    case 'opened':
      return result.dek
    case 'other_key':
      throw wrongKey(slot, provider, result.ours, manifestPath)
    case 'altered':
      throw manifestAltered(manifestPath, 'wrapped_key', 'its wrapped key does not belong to what else it says')
  }
}

/** Whether this is the DEK of the manifest's `current` slot, and the manifest what nimbus wrote for it. */
export function authenticates(dek: Dek, { manifest, body, mac }: StoredManifest): boolean {
  const { salt, commitment, fileId } = manifest.current
  return Buffer.compare(dek.commitment(salt), commitment) === 0 && dek.verifyMac(fileId, body, mac)
}

function wrongKey(slot: Slot, provider: Named, ours: string | undefined, manifestPath: string): NimbusError {
  const configured = ours === undefined ? location(provider.describe()) : `${ours} (${location(provider.describe())})`
  return new NimbusError(
    'key_wrong',
    `wrong key for ${manifestPath}: it was made with key ${slot.keyId} of provider ${slot.provider}, configured is ${configured}`,
    {
      path: manifestPath,
      remediation: `Configure the key that wrapped it; it was at ${quote(slot.hint, 512)}.`,
      detail: { key_id: slot.keyId, provider: slot.provider, hint: slot.hint, configured_key_id: ours ?? null },
    },
  )
}

function location(descriptor: ProviderDescriptor): string {
  return `${descriptor.provider} ${'path' in descriptor ? descriptor.path : descriptor.key_id}`
}
