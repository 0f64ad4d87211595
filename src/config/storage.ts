/** The settings that server and `nimbus encryption` commands share: directories, tenant provider, encryption. */
import { NimbusError } from '../errors.js'
import { settle, type Settled } from './settle.js'
import type { Environment } from './sources.js'

export interface EncryptionConfig {
  readonly provider: 'master-key-file'
  /** Absolute. */
  readonly masterKeyFile: string
}

/** What `nimbus encryption` commands work with; the directories are absolute. */
export interface StorageConfig {
  readonly dataDir: string
  readonly controlDataDir: string
  readonly tenantProvider: 'sqlite'
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
  const masterKeyFile = values.optionalText('encryption_master_key_file')
  return {
    dataDir,
    controlDataDir: values.text('control_data_dir', () => dataDir),
    tenantProvider: 'sqlite',
    encryption: masterKeyFile === undefined ? undefined : { provider: 'master-key-file', masterKeyFile },
  }
}
