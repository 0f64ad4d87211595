/** Tells the control plane what a verification of files at rest has found, so that the next server knows. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { CommandConfig } from '../config/storage.js'
import { ControlPlane } from '../control/control-plane.js'
import { controlPlanePath } from '../control/file.js'
import { subjectOfName } from '../encryption/directory.js'
import { holdDirectory } from '../encryption/hold.js'
import { readFileStatus } from '../encryption/status.js'
import { defectOf, isWhole } from '../encryption/verify-report.js'
import type { VerifyResult } from '../encryption/verify.js'
import { NimbusError, toNimbusError } from '../errors.js'
import type { KeyProvider } from '../keys/provider.js'
import { type FileSubject, describe } from '../keys/subject.js'
import { exists } from '../manifest/file.js'
import type { Context } from './command.js'

type Served = { readonly result: VerifyResult; readonly subject: FileSubject }

/**
 * Of files that a server of this configuration would serve, by paths without links; the caller holds no locks any more. What cannot be recorded is said, and
 * is no failure. Where there is no control plane, nobody is to be told.
 */
export async function recordVerification(
  results: readonly VerifyResult[],
  { dataDir, controlDataDir }: CommandConfig,
  provider: KeyProvider,
  { warn }: Context,
): Promise<void> {
  const [tenantsAt, controlAt] = await Promise.all([withoutLinks(dataDir), withoutLinks(controlDataDir)])
  const served = results.flatMap((result): Served[] => {
    const subject = subjectOf(result.path, tenantsAt, controlAt)
    if (subject === undefined) return []
    // Of a file that could not be examined nothing is known.
    return isWhole(result) || defectOf(result) !== undefined ? [{ result, subject }] : []
  })
  const path = controlPlanePath(controlAt)
  if (served.length === 0 || !(await exists(path))) return
  try {
    const own = served.find(({ subject }) => subject.family === 'control_plane')
    if (own !== undefined && defectOf(own.result) !== undefined) {
      throw new NimbusError('file_corrupt', `${path} is not whole itself`, { path })
    }
    await recordIn(controlAt, served, provider)
  } catch (error) {
    const { message, remediation } = toNimbusError(error)
    warn(`the control plane was not told of this verification: ${message}`, remediation)
  }
}

async function recordIn(directory: string, served: readonly Served[], keys: KeyProvider): Promise<void> {
  const held = holdDirectory(directory)
  try {
    const { state } = await readFileStatus(controlPlanePath(directory))
    // To settle it is a rotation's or a start's business.
    if (state !== 'encrypted') {
      throw new NimbusError('file_busy', `${controlPlanePath(directory)} is ${state.replaceAll('_', ' ')}`, {
        remediation: 'Start the server, or see `nimbus encryption status`.',
      })
    }
    const control = await ControlPlane.find({ directory, keys })
    try {
      for (const { result, subject } of served) {
        const seen = await readFileStatus(result.path, { expected: subject })
        await control?.files.verified(describe(subject), seen, defectOf(result) ?? null)
      }
    } finally {
      await control?.close()
    }
  } finally {
    held.release()
  }
}

function subjectOf(path: string, dataDir: string, controlDataDir: string): FileSubject | undefined {
  const directory = dirname(path)
  const name = basename(path)
  const tenant = directory === dataDir ? subjectOfName(name, 'tenants') : undefined
  return tenant ?? (directory === controlDataDir ? subjectOfName(name, 'control_plane') : undefined)
}

/** The absolute path of a directory, of as much of it as exists. */
export async function withoutLinks(directory: string): Promise<string> {
  return realpath(directory).catch(() => resolve(directory))
}
