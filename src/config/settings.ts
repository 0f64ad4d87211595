/** The one table of settings: parsing, `--help` and docs/configuration.md all come from it. */
import type { FlagSpec } from './flags.js'

export type SettingKind = 'text' | 'path' | 'url' | 'port' | 'count' | 'switch' | 'choice'

export interface Setting {
  /** The name in the code; for settings of the config file, also their key under `persistence`. */
  readonly name: string
  readonly flag: string
  readonly variable: string | null
  readonly key: string | null
  readonly kind: SettingKind
  readonly choices?: readonly string[]
  /** The choices that this version can serve; the others are refused at start. */
  readonly served?: readonly string[]
  /** What holds when nobody sets it. */
  readonly fallback?: string | number
  /** How help shows a default that is computed. */
  readonly shownDefault?: string
  /** It may be set only while this other setting has this value. */
  readonly belongsTo?: { readonly setting: string; readonly value: string }
  /** Its provider cannot work without it. */
  readonly required?: true
  /** Never repeated in a message. */
  readonly secret?: true
  readonly group: SettingGroup
  readonly help: string
}

export type SettingGroup = 'Server' | 'Storage' | 'Encryption' | 'Postgres' | 'MySQL' | 'libSQL'

const postgres = { belongsTo: { setting: 'tenant_provider', value: 'postgres' }, group: 'Postgres' } as const
const mysql = { belongsTo: { setting: 'tenant_provider', value: 'mysql' }, group: 'MySQL' } as const
const libsql = { belongsTo: { setting: 'tenant_provider', value: 'libsql-replica' }, group: 'libSQL' } as const
const masterKeyFile = { belongsTo: { setting: 'encryption_key_provider', value: 'master-key-file' } } as const
const keyDir = { belongsTo: { setting: 'encryption_key_provider', value: 'key-dir' } } as const
const awsKms = { belongsTo: { setting: 'encryption_key_provider', value: 'aws-kms' } } as const

/** The three names of a setting that can stand in the config file: `data_dir`, `--data-dir`, `NIMBUS_DATA_DIR`. */
function everywhere<const Name extends string>(name: Name) {
  return { name, flag: `--${name.replaceAll('_', '-')}`, variable: `NIMBUS_${name.toUpperCase()}`, key: name } as const
}

export const SETTINGS = [
  {
    name: 'config',
    flag: '--config',
    variable: 'NIMBUS_CONFIG',
    key: null,
    kind: 'path',
    group: 'Server',
    help: 'JSON file with settings, each under `persistence` by its key.',
  },
  {
    name: 'host',
    flag: '--host',
    variable: null,
    key: null,
    kind: 'text',
    fallback: '127.0.0.1',
    group: 'Server',
    help: 'Address to listen on. Another interface than loopback needs --allow-network, and TLS or --behind-proxy.',
  },
  {
    name: 'port',
    flag: '--port',
    variable: null,
    key: null,
    kind: 'port',
    fallback: 8080,
    group: 'Server',
    help: 'Port to listen on; 0 picks a free one.',
  },
  {
    name: 'allow_network',
    flag: '--allow-network',
    variable: null,
    key: null,
    kind: 'switch',
    group: 'Server',
    help: 'Permit --host to name another interface than loopback.',
  },
  {
    name: 'behind_proxy',
    flag: '--behind-proxy',
    variable: null,
    key: null,
    kind: 'switch',
    group: 'Server',
    help: 'A reverse proxy in front of the server terminates TLS; permits plain HTTP on the network between the two.',
  },
  {
    name: 'tls_cert',
    flag: '--tls-cert',
    variable: 'NIMBUS_TLS_CERT',
    key: null,
    kind: 'path',
    group: 'Server',
    help: 'Certificate chain (PEM). Together with --tls-key it turns TLS on; then TLS 1.3 only.',
  },
  {
    name: 'tls_key',
    flag: '--tls-key',
    variable: 'NIMBUS_TLS_KEY',
    key: null,
    kind: 'path',
    group: 'Server',
    help: 'Private key of the certificate (PEM).',
  },
  {
    name: 'auth_token_file',
    flag: '--auth-token-file',
    variable: 'NIMBUS_AUTH_TOKEN_FILE',
    key: null,
    kind: 'path',
    shownDefault: '$XDG_DATA_HOME/nimbus/auth/token; ~/.local/share where XDG_DATA_HOME is not set',
    group: 'Server',
    help: 'File of the admin token; made at the first start, readable by its owner only.',
  },
  {
    ...everywhere('data_dir'),
    kind: 'path',
    fallback: './data',
    group: 'Storage',
    help: 'Directory of the tenant databases; made if it does not exist.',
  },
  {
    ...everywhere('control_data_dir'),
    kind: 'path',
    shownDefault: 'the data directory',
    group: 'Storage',
    help: 'Directory of the control-plane database.',
  },
  {
    ...everywhere('tenant_provider'),
    kind: 'choice',
    choices: ['sqlite', 'redb', 'libsql-replica', 'postgres', 'mysql'],
    served: ['sqlite', 'redb'],
    fallback: 'sqlite',
    group: 'Storage',
    help: 'Where the documents of tenants live.',
  },
  {
    ...everywhere('encryption_key_provider'),
    kind: 'choice',
    choices: ['master-key-file', 'key-dir', 'aws-kms'],
    shownDefault: 'off: files are not encrypted',
    group: 'Encryption',
    help: 'Where the keys come from that wrap the data-encryption keys; turns encryption on.',
  },
  {
    ...everywhere('encryption_master_key_file'),
    ...masterKeyFile,
    kind: 'path',
    required: true,
    group: 'Encryption',
    help: 'File of exactly 32 raw bytes, outside the data directory.',
  },
  {
    ...everywhere('encryption_key_dir'),
    ...keyDir,
    kind: 'path',
    required: true,
    group: 'Encryption',
    help: 'Directory of one 32-byte key file per subject, named as `nimbus encryption key-name` prints.',
  },
  {
    ...everywhere('encryption_aws_kms_key_id'),
    ...awsKms,
    kind: 'text',
    required: true,
    group: 'Encryption',
    help: 'Id, ARN or alias of the KMS key.',
  },
  {
    ...everywhere('encryption_aws_region'),
    ...awsKms,
    kind: 'text',
    shownDefault: 'the AWS chain',
    group: 'Encryption',
    help: 'Region of the KMS key.',
  },
  {
    ...everywhere('encryption_aws_endpoint_url'),
    ...awsKms,
    kind: 'url',
    shownDefault: 'the endpoint of the region',
    group: 'Encryption',
    help: 'Endpoint of the KMS: a VPC endpoint or a local emulator.',
  },
  {
    ...everywhere('postgres_url'),
    ...postgres,
    kind: 'url',
    required: true,
    secret: true,
    help: 'Connection URL.',
  },
  {
    ...everywhere('postgres_metadata_schema'),
    ...postgres,
    kind: 'text',
    fallback: 'nimbus_provider',
    help: 'Schema of the tables of nimbus itself.',
  },
  {
    ...everywhere('postgres_tenant_schema_prefix'),
    ...postgres,
    kind: 'text',
    fallback: 'tenant_',
    help: 'Prefix of the schema of each tenant.',
  },
  { ...everywhere('postgres_min_connections'), ...postgres, kind: 'count', help: 'Connections kept open.' },
  { ...everywhere('postgres_max_connections'), ...postgres, kind: 'count', help: 'Connections opened at most.' },
  { ...everywhere('mysql_url'), ...mysql, kind: 'url', required: true, secret: true, help: 'Connection URL.' },
  {
    ...everywhere('mysql_metadata_database'),
    ...mysql,
    kind: 'text',
    fallback: 'nimbus_provider',
    help: 'Database of the tables of nimbus itself.',
  },
  {
    ...everywhere('mysql_tenant_database_prefix'),
    ...mysql,
    kind: 'text',
    fallback: 'tenant_',
    help: 'Prefix of the database of each tenant.',
  },
  { ...everywhere('mysql_min_connections'), ...mysql, kind: 'count', help: 'Connections kept open.' },
  { ...everywhere('mysql_max_connections'), ...mysql, kind: 'count', help: 'Connections opened at most.' },
  { ...everywhere('libsql_url'), ...libsql, kind: 'url', required: true, secret: true, help: 'URL of the primary.' },
  { ...everywhere('libsql_auth_token'), ...libsql, kind: 'text', secret: true, help: 'Token for the primary.' },
  { ...everywhere('libsql_admin_url'), ...libsql, kind: 'url', secret: true, help: 'URL of its admin interface.' },
  {
    ...everywhere('libsql_admin_auth_header'),
    ...libsql,
    kind: 'text',
    secret: true,
    help: 'Authorization header for the admin interface.',
  },
  {
    ...everywhere('libsql_metadata_namespace'),
    ...libsql,
    kind: 'text',
    help: 'Namespace of the tables of nimbus itself.',
  },
  {
    ...everywhere('libsql_tenant_namespace_prefix'),
    ...libsql,
    kind: 'text',
    help: 'Prefix of the namespace of each tenant.',
  },
  {
    ...everywhere('libsql_replica_cache_dir'),
    ...libsql,
    kind: 'path',
    shownDefault: '<data-dir>/cache',
    help: 'Directory of the replica caches.',
  },
] as const satisfies readonly Setting[]

export type SettingName = (typeof SETTINGS)[number]['name']

/** Named so that messages can say all the ways to set it: `--data-dir (NIMBUS_DATA_DIR, data_dir)`. */
export function namesOf(setting: Setting): string {
  const others = [setting.variable, setting.key].filter((name) => name !== null)
  return others.length === 0 ? setting.flag : `${setting.flag} (${others.join(', ')})`
}

export function settingNamed(name: string): Setting {
  const found = SETTINGS.find((setting) => setting.name === name)
  if (found === undefined) throw new TypeError(`there is no setting ${name}`)
  return found
}

export function flagSpec({ flag, kind, help, choices }: Setting): FlagSpec {
  const value = kind === 'switch' ? null : choices === undefined ? `<${kind}>` : '<name>'
  return { flag, value, help }
}
