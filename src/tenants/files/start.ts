/** What a start finds in the data directory: leftovers of crashes to settle, and every tenant to check before one is served. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { mapBounded } from '../../encryption/bounded.js'
import { checkPlain, checkProtected, checkWithoutKey } from '../../encryption/check.js'
import { contentsOf, readFileHead } from '../../encryption/head.js'
import { type SeenFile, seenFile } from '../../encryption/status.js'
import type { SettleOptions } from '../../encryption/settle.js'
import { NimbusError, fromSystemError } from '../../errors.js'
import type { KeyProvider } from '../../keys/provider.js'
import { isTenantId, servedName } from '../../keys/subject.js'
import { exists, fileOfManifestPath, manifestPathOf } from '../../manifest/file.js'
import type { Manifest } from '../../manifest/manifest.js'
import { removeFileDurably } from '../../native.js'
import type { Engine, TenantSubject } from './engine.js'
import { DELETING_SUFFIX, removeMarked } from './tenant-file.js'

const FILES_AT_A_TIME = 16

export interface FoundTenant {
  readonly tenant: string
  /** In milliseconds; not known of a plain one before it is opened. */
  readonly createdAt: number | undefined
  readonly seen: SeenFile
}

/**
 * No tenant of this directory is open: data files are opened and closed here, which would drop SQLite's locks.
 *
 * @throws what is wrong with the first file that cannot be served, naming it
 */
export async function checkDirectory(
  engine: Engine,
  directory: string,
  keys: KeyProvider | undefined,
  onRotation?: SettleOptions['onRotation'],
): Promise<FoundTenant[]> {
  await settleMarked(engine, directory)
  const names = await namesIn(directory)
  if (keys === undefined) refuseManifests(directory, names)
  const tenants = [...new Set(names.flatMap((name) => tenantOf(engine, name)))].sort()
  const checked = await mapBounded(tenants, FILES_AT_A_TIME, async (tenant) => {
    const subject = { family: engine.family, tenant }
    const path = join(directory, servedName(subject))
    if (keys !== undefined) return checkEncrypted(path, subject, keys, { onRotation })
    await checkPlain(path, subject)
    await engine.checkHead(path)
    return { tenant, createdAt: undefined, seen: seenFile(subject, undefined) }
  })
  return checked.filter((found) => found !== undefined)
}

/**
 * Plain files whose creation or deletion was interrupted: none of them was ever acknowledged to be there. A marker speaks of
 * plaintext only: ciphertext that has meanwhile come under the name, its manifest still on the way, is somebody's data.
 */
async function settleMarked(engine: Engine, directory: string): Promise<void> {
  for (const name of await namesIn(directory)) {
    for (const suffix of [engine.creatingSuffix, DELETING_SUFFIX]) {
      const file = name.slice(0, -suffix.length)
      if (!name.endsWith(suffix) || tenantOf(engine, file).length === 0) continue
      const path = join(directory, file)
      // A file with a manifest is none of those that markers speak of.
      if (await exists(manifestPathOf(path))) removeFileDurably(path + suffix)
      else if (contentsOf(await readFileHead(path)) !== 'ciphertext') removeMarked(path, engine.family, suffix)
    }
  }
}

/** Backups of rotations stay encrypted for good, and nothing serves them. */
function refuseManifests(directory: string, names: readonly string[]): void {
  const manifest = names.find((name) => fileOfManifestPath(name)?.endsWith('.bak') === false)
  if (manifest === undefined) return
  const path = join(directory, manifest)
  throw new NimbusError('encrypted_but_disabled', `encryption is off, but there is an encrypted file: ${path}`, {
    path,
  })
}

async function checkEncrypted(
  path: string,
  subject: TenantSubject,
  keys: KeyProvider,
  options: SettleOptions,
): Promise<FoundTenant | undefined> {
  const unopened = keys.isRemote === true ? await checkWithoutKey(path, subject, keys) : undefined
  if (unopened !== undefined) return foundTenant(subject, unopened)
  const file = await checkProtected(path, subject, keys, options)
  if (file === undefined) return undefined
  file.dek.close()
  return foundTenant(subject, file.manifest)
}

function foundTenant(subject: TenantSubject, manifest: Manifest): FoundTenant {
  return {
    tenant: subject.tenant,
    createdAt: Date.parse(manifest.createdAt),
    seen: seenFile(subject, manifest),
  }
}

/** The tenant whose data file or manifest this is, by its name; none for any other file. */
function tenantOf(engine: Engine, name: string): string[] {
  const file = fileOfManifestPath(name) ?? name
  const tenant = file.slice(0, Math.max(0, file.lastIndexOf('.')))
  return isTenantId(tenant) && servedName({ family: engine.family, tenant }) === file ? [tenant] : []
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort()
  } catch (error) {
    throw fromSystemError(error, 'list', directory)
  }
}
