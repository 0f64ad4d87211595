/** Whether every page of encrypted files at rest authenticates, under the key that their manifests hold; changes nothing. */
import { basename } from 'node:path'
import { NimbusError, toNimbusError } from '../errors.js'
import { cipherOfProfile } from '../keys/profile.js'
import type { KeyProvider } from '../keys/provider.js'
import { type FileSubject, describe, servedName } from '../keys/subject.js'
import { manifestPathOf, readManifest } from '../manifest/file.js'
import { type Findings, type VerifyOptions, verifyRedb, verifySqlite } from '../native.js'
import { requireFileId, withoutManifest } from './check.js'
import { readFileHead } from './head.js'
import type { LongWork } from './progress.js'
import { rotationPending } from './protect.js'
import { underSeal, underSqlcipher } from './rekey-engine.js'
import { type Protected, unlockStored } from './unlock.js'

export interface Verification extends LongWork {
  readonly provider: KeyProvider
  /** As fast as disk and processors allow, if left out. */
  readonly bytesPerSecond?: number | undefined
}

export interface FileToVerify {
  readonly path: string
  /** Whose it is by its name; whoever its manifest says, if that tells nothing. */
  readonly expected?: FileSubject | undefined
}

export type VerifyResult =
  | { readonly path: string; readonly outcome: 'sound' | 'damaged'; readonly findings: Findings }
  /** A replica cache that is to be rebuilt. */
  | { readonly path: string; readonly outcome: 'empty' }
  | { readonly path: string; readonly outcome: 'failed'; readonly error: NimbusError }

/**
 * One result for each file, in order; a file that cannot be examined does not stop the rest. Callers hold the locks of the files,
 * or of their directory.
 *
 * @throws what the signal was aborted with.
 */
export async function* verifyFiles(
  files: readonly FileToVerify[],
  verification: Verification,
): AsyncGenerator<VerifyResult> {
  for (const file of files) {
    verification.signal?.throwIfAborted()
    try {
      yield await verifyFile(file, verification)
    } catch (error) {
      verification.signal?.throwIfAborted()
      yield { path: file.path, outcome: 'failed', error: toNimbusError(error) }
    }
  }
}

async function verifyFile({ path, expected }: FileToVerify, verification: Verification): Promise<VerifyResult> {
  const { provider, signal, onProgress, bytesPerSecond } = verification
  const file = await opened(path, expected, provider)
  try {
    if (file.manifest.state === 'rotating') throw rotationPending(path)
    if (file.manifest.state !== 'active') {
      throw new NimbusError('data_missing', `${path} is not whole: it is ${file.manifest.state}`, {
        path,
        remediation: 'Start the server: it finishes interrupted creations and deletions.',
      })
    }
    const head = await readFileHead(path)
    requireFileId(path, file.manifest, head)
    if (head === undefined) return { path, outcome: 'empty' }
    const findings = await examine(file, {
      bytesPerSecond: bytesPerSecond ?? Number.POSITIVE_INFINITY,
      signal,
      onProgress: onProgress && ((progress) => onProgress(path, progress)),
    })
    return { path, outcome: findings.damaged.length === 0 ? 'sound' : 'damaged', findings }
  } finally {
    file.dek.close()
  }
}

async function opened(path: string, expected: FileSubject | undefined, provider: KeyProvider): Promise<Protected> {
  const stored = await readManifest(manifestPathOf(path))
  if (stored === undefined) throw withoutManifest(path, expected, await readFileHead(path))
  const { subject } = stored.manifest
  // A cache is called as a SQLite tenant is: its name does not tell.
  const isCache = subject.family === 'libsql_cache' && servedName(subject) === basename(path)
  if (expected !== undefined && !isCache && describe(expected) !== describe(subject)) {
    const message = `sidecar manifest belongs to another file: ${path} has that of ${describe(subject)}`
    throw new NimbusError('manifest_mismatch', message, { path: manifestPathOf(path) })
  }
  return unlockStored(path, stored, provider)
}

function examine({ path, manifest, dek }: Protected, options: VerifyOptions): Promise<Findings> {
  const file = { path, manifest, slot: manifest.current, dek }
  return cipherOfProfile(manifest.profile) === 'sqlcipher'
    ? verifySqlite(underSqlcipher(file), options)
    : verifyRedb(underSeal(file), options)
}
