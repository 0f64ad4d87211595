/** The settings that server and `nimbus encryption` commands share: directories, tenant provider, encryption. */
import { NimbusError } from '../errors.js'
import { settle, type Settled } from './settle.js'
import type { Environment } from './sources.js'

/** The one active key provider and its settings; paths are absolute. */
export type EncryptionConfig =
  | { readonly provider: 'master-key-file'; readonly masterKeyFile: string }
  | { readonly provider: 'key-dir'; readonly keyDir: string }
  | AwsKmsConfig

export interface AwsKmsConfig {
  readonly provider: 'aws-kms'
  /** Id, ARN or alias. */
  readonly keyId: string
  /** Left out, the AWS chain knows it. */
  readonly region: string | undefined
  readonly endpointUrl: string | undefined
}

/** What `nimbus encryption` commands work with; the directories are absolute. */
export interface StorageConfig {
  readonly dataDir: string
  readonly controlDataDir: string
  readonly tenantProvider: 'sqlite' | 'redb'
  readonly encryption: EncryptionConfig | undefined
}

export interface CommandConfig extends StorageConfig {
  readonly encryption: EncryptionConfig
}

/** For the `nimbus encryption` commands: variables and NIMBUS_CONFIG only. */
export function resolveEncryptionCommandConfig(env: Environment): CommandConfig {
  const { encryption, ...storage } = storageConfig(settle(new Map(), env))
  if (encryption === undefined) throw new NimbusError('encryption_not_configured', 'encryption is not configured')
  return { ...storage, encryption }
}

export function storageConfig(values: Settled): StorageConfig {
  const dataDir = values.text('data_dir')
  return {
    dataDir,
    controlDataDir: values.text('control_data_dir', () => dataDir),
    // The others are not served: `providers.ts` has refused them.
    tenantProvider: values.text('tenant_provider') === 'redb' ? 'redb' : 'sqlite',
    encryption: encryptionConfig(values),
  }
}

/** What a provider requires is there, and what belongs to others is not: `providers.ts` has seen to it. */
function encryptionConfig(values: Settled): EncryptionConfig | undefined {
  switch (values.optionalText('encryption_key_provider')) {
    case 'master-key-file':
      return { provider: 'master-key-file', masterKeyFile: values.text('encryption_master_key_file') }
    case 'key-dir':
      return { provider: 'key-dir', keyDir: values.text('encryption_key_dir') }
    case 'aws-kms':
      return {
        provider: 'aws-kms',
        keyId: values.text('encryption_aws_kms_key_id'),
        region: values.optionalText('encryption_aws_region'),
        endpointUrl: values.optionalText('encryption_aws_endpoint_url'),
      }
    default:
      return undefined
  }
}
