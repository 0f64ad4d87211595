/** What a kind of database is to the provider that keeps each tenant in a file of its own. */
import type { Protected } from '../../encryption/protect.js'
import type { OpenFile } from '../../encryption/status.js'
import { NimbusError } from '../../errors.js'
import type { Profile } from '../../keys/profile.js'
import type { FileSubject, TenantFamily } from '../../keys/subject.js'
import type { Findings, VerifyOptions } from '../../native.js'
import type { TenantProvider, TenantStats } from '../contract.js'
import type { OpenTenant } from '../open-tenant.js'

export type TenantSubject = Exclude<FileSubject, { family: 'control_plane' }>

export interface ServedTenant extends OpenTenant {
  /** Milliseconds since 1970-01-01 UTC, as the file says. */
  readonly createdAt: number
  readonly stats: Omit<TenantStats, 'tenants' | 'openTenants'>
  /** What only the open handle knows of the file, of engines that know more than the disk shows. */
  readonly openFile?: OpenFile
  /** Authenticates the file, which is encrypted, while it is used. @throws `shutting_down` if the tenant is closed under it */
  verify(options: VerifyOptions): Promise<Findings>
  /** Finishes what is queued; `stats` may still be asked for afterwards. */
  close(): Promise<void>
}

export interface Engine {
  readonly name: TenantProvider['name']
  readonly family: TenantFamily
  /** Of files that are created encrypted if the configuration names no other. */
  readonly profile: Profile
  /** Of the empty file that says of a plain one what the manifest `creating` says of an encrypted one. */
  readonly creatingSuffix: string

  /** Once, before the first file is opened. */
  start(): void

  /**
   * An empty tenant in a new file, durable and closed again. `key` is left out for a plain file.
   *
   * @throws what its store throws; a part of the file may then be there
   */
  layOut(path: string, key: Protected | undefined, createdAtMs: number): Promise<void>

  /** @throws what its store throws; `file_corrupt`, `unsupported_for_provider` for a file of another kind or of a later version */
  open(path: string, key: Protected | undefined): Promise<ServedTenant>

  /** Refuses a plain file by its beginning, as far as that tells. The file is not served yet. */
  checkHead(path: string): Promise<void>
}

export function notATenant(path: string, why: string): NimbusError {
  return new NimbusError('file_corrupt', `${path} is not a tenant of nimbus: ${why}`, {
    path,
    remediation: 'Move the file out of the data directory, or restore the tenant from the backup.',
  })
}

export function laterLayout(path: string, layout: unknown, known: number): NimbusError {
  return new NimbusError(
    'unsupported_for_provider',
    `${path} has layout ${String(layout)}; this version of nimbus knows ${known}`,
    { path, remediation: 'Start the version of nimbus that wrote it, or a later one.' },
  )
}
