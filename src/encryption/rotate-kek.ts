/**
 * Another KEK for files that exist: their manifests are wrapped anew, their data is not touched.
 *
 * | stopped                | on the disk                                                     | the same command again          |
 * |------------------------|-----------------------------------------------------------------|---------------------------------|
 * | while wrapping         | every manifest as it was                                        | begins anew                     |
 * | while a batch is written | each manifest the old or the new one, whole; perhaps `.tmp`s    | skips the new ones, does the rest |
 * | between batches        | the batches before under the new KEK, the rest under the old one | likewise                        |
 *
 * A manifest is replaced only after the new wrapping was unwrapped again, and gave the same DEK. Callers hold the locks of
 * the files or of their directory.
 */
import { NimbusError, toNimbusError } from '../errors.js'
import type { DekBinding } from '../keys/binding.js'
import type { KeyProvider, WrappedDek } from '../keys/provider.js'
import { type Disk, manifestPathOf, nativeDisk, readManifest } from '../manifest/file.js'
import { type Manifest, type SettledManifest, type StoredManifest, bindingOf } from '../manifest/manifest.js'
import { type Dek, type FileReplacement, randomBytes } from '../native.js'
import { mapBounded } from './bounded.js'
import { withoutManifest } from './check.js'
import { readFileHead } from './head.js'
import { rotationPending, sealed } from './protect.js'
import { settle } from './settle.js'
import { type Protected, authenticates, unlockStored } from './unlock.js'

export interface KekRotation {
  readonly from: KeyProvider
  readonly to: KeyProvider
  /** Everything but the writing. */
  readonly isDryRun: boolean
  readonly disk?: Disk | undefined
  /** Looked at between batches. */
  readonly signal?: AbortSignal | undefined
}

export interface KekResult {
  /** The data file. */
  readonly path: string
  /** `skipped`: it is under the new KEK already. `checked`: it would have been rotated. */
  readonly outcome: 'rotated' | 'skipped' | 'checked' | 'failed'
  readonly error?: NimbusError
}

/** So many manifests, of 1 to 15 KB each, are flushed together; as many more are wrapped meanwhile. */
const BATCH = 1024
/** A KMS is at the other end of a network, and counts requests. */
const WRAPPED_AT_A_TIME = 16

/**
 * Rotates the manifests of these data files, one result for each, in order, as batches are done; while one is written, the next
 * is wrapped. A file that fails is left as it was and does not stop the rest.
 *
 * @throws what `signal` was aborted with, between batches.
 */
export async function* rotateKek(paths: readonly string[], rotation: KekRotation): AsyncGenerator<KekResult> {
  const wrap = (from: number): Promise<Prepared[]> =>
    mapBounded(paths.slice(from, from + BATCH), WRAPPED_AT_A_TIME, (path) => prepare(path, rotation))
  let prepared: Prepared[] = []
  for (let from = 0; from < paths.length + BATCH; from += BATCH) {
    rotation.signal?.throwIfAborted()
    // Neither rejects: the other would go on after the caller has given up the locks.
    const [results, next] = await Promise.all([write(prepared, rotation), wrap(from)])
    yield* results
    prepared = next
  }
}

type Prepared = KekResult | { readonly path: string; readonly outcome: 'prepared'; readonly bytes: Uint8Array }

async function write(
  prepared: readonly Prepared[],
  { isDryRun, disk = nativeDisk }: KekRotation,
): Promise<KekResult[]> {
  if (isDryRun) return prepared.map((result) => (result.outcome === 'prepared' ? checked(result.path) : result))
  const replacements = prepared.flatMap((result) =>
    result.outcome === 'prepared' ? [{ path: manifestPathOf(result.path), bytes: result.bytes }] : [],
  )
  const failures = (await replace(replacements, disk))[Symbol.iterator]()
  return prepared.map((result) => {
    if (result.outcome !== 'prepared') return result
    const failure: Error | undefined = failures.next().value
    return failure === undefined ? { path: result.path, outcome: 'rotated' } : failed(result.path, failure)
  })
}

async function replace(files: FileReplacement[], disk: Disk): Promise<(Error | undefined)[]> {
  if (files.length === 0) return []
  try {
    return await disk.replaceFiles(files)
  } catch (error) {
    return files.map(() => toNimbusError(error))
  }
}

async function prepare(path: string, rotation: KekRotation): Promise<Prepared> {
  try {
    const stored = await readManifest(manifestPathOf(path))
    if (stored === undefined) throw withoutManifest(path, undefined, await readFileHead(path))
    if (await isUnder(rotation.to, stored)) return { path, outcome: 'skipped' }
    return { path, outcome: 'prepared', bytes: await rewrapped(path, stored, rotation) }
  } catch (error) {
    return failed(path, error)
  }
}

/** Only what the new provider opens counts: a key id alone proves nothing. */
async function isUnder(provider: KeyProvider, stored: StoredManifest): Promise<boolean> {
  const { manifest } = stored
  const slot = manifest.current
  if (slot.provider !== provider.kind) return false
  const result = await provider.unwrap(bindingOf(manifest, slot), slot, slot.commitment)
  if (result.outcome !== 'opened') return false
  try {
    return authenticates(result.dek, stored)
  } finally {
    result.dek.close()
  }
}

async function rewrapped(path: string, stored: StoredManifest, rotation: KekRotation): Promise<Uint8Array> {
  const { from, to } = rotation
  const { manifest, dek } = await settled(await unlockStored(path, stored, from), rotation)
  try {
    if (manifest.state === 'rotating') throw rotationPending(path)
    const binding = { ...bindingOf(manifest, manifest.current), salt: randomBytes(32) }
    const { keyId, hint, wrapped } = await wrapAnew(manifest, dek, binding, { from, to })
    const commitment = dek.commitment(binding.salt)
    const { generation, fileId, salt } = binding
    const current = { generation, fileId, provider: to.kind, hint, keyId, salt, commitment, wrapped }
    const successor: SettledManifest = { ...manifest, current }
    await requireOpens(path, successor, to)
    return sealed(successor, dek)
  } finally {
    dek.close()
  }
}

/** A pending rotation of the DEK is ended first: its two keys have one manifest. Creations and deletions are a start's. */
async function settled(file: Protected, { from, disk, isDryRun }: KekRotation): Promise<Protected> {
  if (file.manifest.state !== 'rotating' || isDryRun) return file
  try {
    return (await settle(file, from, { disk })) ?? file
  } catch (error) {
    file.dek.close()
    throw error
  }
}

/** Where both KEKs are in one place they may be asked to do it there; wherever that cannot be, the DEK passes through here. */
async function wrapAnew(
  manifest: Manifest,
  dek: Dek,
  binding: DekBinding,
  { from, to }: Pick<KekRotation, 'from' | 'to'>,
): Promise<WrappedDek> {
  if (to.rewrap === undefined || from.kind !== to.kind) return to.wrap(binding, dek)
  const old = { provider: from, binding: bindingOf(manifest, manifest.current), wrapped: manifest.current }
  const result = await to.rewrap(old, binding)
  return result.outcome === 'rewrapped' ? result.wrapped : to.wrap(binding, dek)
}

/** The old wrapping is the only way to the data until the new one has been seen to work. */
async function requireOpens(path: string, manifest: SettledManifest, to: KeyProvider): Promise<void> {
  const slot = manifest.current
  const result = await to.unwrap(bindingOf(manifest, slot), slot, slot.commitment)
  if (result.outcome === 'opened') {
    const found = result.dek.commitment(slot.salt)
    result.dek.close()
    if (Buffer.compare(found, slot.commitment) === 0) return
  }
  const manifestPath = manifestPathOf(path)
  throw new NimbusError('key_wrong', `the new key does not give back what it wrapped for ${manifestPath}`, {
    path: manifestPath,
    remediation: 'Nothing was changed. Check the new key, or choose another one.',
    detail: { outcome: result.outcome, key_id: slot.keyId },
  })
}

function checked(path: string): KekResult {
  return { path, outcome: 'checked' }
}

function failed(path: string, thrown: unknown): KekResult {
  return { path, outcome: 'failed', error: toNimbusError(thrown) }
}
