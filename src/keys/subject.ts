/** What a DEK protects, and its descriptor: the one string by which manifests, key files and a KMS know it. */
import { NimbusError } from '../errors.js'
import { quote } from './quote.js'

export type TenantFamily = 'sqlite_tenant' | 'redb_tenant' | 'libsql_cache'

/** A subject that is a file, and so has a manifest beside it. */
export type FileSubject =
  { readonly family: TenantFamily; readonly tenant: string } | { readonly family: 'control_plane' }

/** Everything that has a DEK of its own: the files, and the vault, whose KEK is wrapped like a file's DEK. */
export type Subject = FileSubject | { readonly family: 'vault' }

const TENANT_ID = /^[a-z0-9][a-z0-9_-]{0,47}$/
const CONTROL_PLANE_FILE = 'nimbus-control.db'
const CONTROL_PLANE = `db:redb:control:${CONTROL_PLANE_FILE}`
const VAULT = 'vault:kek'

const TENANT_FILES = {
  sqlite_tenant: { prefix: 'db:sqlite:tenant:', suffix: '.sqlite3' },
  redb_tenant: { prefix: 'db:redb:tenant:', suffix: '.redb' },
  libsql_cache: { prefix: 'db:libsql:cache:', suffix: '.sqlite3' },
} as const satisfies Record<TenantFamily, { prefix: string; suffix: string }>

const TENANT_FAMILIES = ['sqlite_tenant', 'redb_tenant', 'libsql_cache'] as const

export function isTenantId(text: string): boolean {
  return TENANT_ID.test(text)
}

/**
 * The tenant id itself, or `invalid_tenant_id`. Nothing else may reach a path: `..`, `/`, NUL, upper case (on some systems a
 * second name of the same file) and names too long for a key file in hex are all outside the pattern.
 */
export function parseTenantId(text: string): string {
  if (isTenantId(text)) return text
  throw new NimbusError('invalid_tenant_id', `${quote(text)} is not a tenant id`)
}

/** The descriptor, such as `db:sqlite:tenant:demo:demo.sqlite3`; `invalid_tenant_id` for a tenant that cannot exist. */
export function describe(subject: Subject): string {
  if (subject.family === 'vault') return VAULT
  if (subject.family === 'control_plane') return CONTROL_PLANE
  return `${TENANT_FILES[subject.family].prefix}${parseTenantId(subject.tenant)}:${servedName(subject)}`
}

/** The subject that `describe` turns into exactly this text; `undefined` if there is none. */
export function parseDescriptor(text: string): Subject | undefined {
  if (text === VAULT) return { family: 'vault' }
  if (text === CONTROL_PLANE) return { family: 'control_plane' }
  for (const family of TENANT_FAMILIES) {
    const { prefix } = TENANT_FILES[family]
    if (!text.startsWith(prefix)) continue
    const tenant = text.slice(prefix.length, Math.max(prefix.length, text.indexOf(':', prefix.length)))
    if (isTenantId(tenant) && describe({ family, tenant }) === text) return { family, tenant }
  }
  return undefined
}

/** The name under which the server serves the file, whatever it is called at the moment: `demo.sqlite3`. */
export function servedName(subject: FileSubject): string {
  if (subject.family === 'control_plane') return CONTROL_PLANE_FILE
  return parseTenantId(subject.tenant) + TENANT_FILES[subject.family].suffix
}

/** The name of a subject's file in a key directory: its descriptor in hex. The longest has 246 characters; 255 are allowed. */
export function keyFileName(descriptor: string): string {
  return `${Buffer.from(descriptor, 'utf8').toString('hex')}.key`
}
