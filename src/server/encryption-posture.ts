/** What the configuration, or an open provider, says about encryption, without a key: the head of `nimbus encryption status`. */
import type { EncryptionConfig, StorageConfig } from '../config/storage.js'
import type { EncryptedFamily, FileStatus } from '../encryption/status.js'
import type { KeyProvider, ProviderDescriptor } from '../keys/provider.js'

export interface EncryptionPosture {
  readonly enabled: boolean
  /** The families of local files that the configuration encrypts. */
  readonly encrypted_families: readonly EncryptedFamily[]
  readonly descriptor: PostureDescriptor
}

export type PostureDescriptor = { readonly status: 'disabled' } | ({ readonly status: 'enabled' } & ProviderDescriptor)

/** The body of `GET /debug/encryption/status`, and what `nimbus encryption status --format json` prints. */
export interface EncryptionStatus extends EncryptionPosture {
  readonly files: readonly FileStatus[]
}

const TENANT_FAMILIES = {
  sqlite: 'embedded_sqlite',
  redb: 'embedded_redb',
} as const satisfies Record<StorageConfig['tenantProvider'], EncryptedFamily>

/** An open provider knows more of itself than its configuration does: a region from the AWS chain. */
export function postureOf(
  { encryption, tenantProvider }: Pick<StorageConfig, 'encryption' | 'tenantProvider'>,
  provider?: Pick<KeyProvider, 'describe'>,
): EncryptionPosture {
  const descriptor = provider?.describe() ?? (encryption && descriptorOf(encryption))
  if (descriptor === undefined) return { enabled: false, encrypted_families: [], descriptor: { status: 'disabled' } }
  return {
    enabled: true,
    encrypted_families: [TENANT_FAMILIES[tenantProvider]],
    descriptor: { status: 'enabled', ...descriptor },
  }
}

function descriptorOf(encryption: EncryptionConfig): ProviderDescriptor {
  switch (encryption.provider) {
    case 'master-key-file':
      return { provider: 'master_key_file', path: encryption.masterKeyFile }
    case 'key-dir':
      return { provider: 'key_directory', path: encryption.keyDir }
    case 'aws-kms':
      return { provider: 'aws_kms', key_id: encryption.keyId, region: encryption.region ?? null }
  }
}
