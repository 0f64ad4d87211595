import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { resolveEncryptionCommandConfig } from '../../src/config/storage.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { failureOf } from '../support/failure.js'

describe('the configuration of encryption commands', () => {
  it('comes from variables', () => {
    const env = {
      NIMBUS_DATA_DIR: '/d',
      NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
      NIMBUS_ENCRYPTION_MASTER_KEY_FILE: 'master.key',
    }
    expect(resolveEncryptionCommandConfig(env)).toEqual({
      dataDir: '/d',
      controlDataDir: '/d',
      tenantProvider: 'sqlite',
      encryption: { provider: 'master-key-file', masterKeyFile: path.resolve('master.key') },
    })
  })

  it('comes from the file that NIMBUS_CONFIG names', () => {
    const persistence = {
      data_dir: '/d',
      encryption_key_provider: 'master-key-file',
      encryption_master_key_file: '/k',
    }
    const file = writeIn(temporaryDirectory(), 'nimbus.json', JSON.stringify({ persistence }))
    const { dataDir, encryption } = resolveEncryptionCommandConfig({ NIMBUS_CONFIG: file })
    expect(dataDir).toBe('/d')
    expect(encryption).toEqual({ provider: 'master-key-file', masterKeyFile: '/k' })
  })

  it.each([
    [
      { PROVIDER: 'key-dir', DIR: '/keys' },
      { provider: 'key-dir', keyDir: '/keys' },
    ],
    [
      { PROVIDER: 'key_dir', DIR: 'keys' },
      { provider: 'key-dir', keyDir: path.resolve('keys') },
    ],
  ])('knows the settings of every key provider: %o', (given, encryption) => {
    const env = { NIMBUS_ENCRYPTION_KEY_PROVIDER: given.PROVIDER, NIMBUS_ENCRYPTION_KEY_DIR: given.DIR }
    expect(resolveEncryptionCommandConfig(env).encryption).toEqual(encryption)
  })

  it('is refused when encryption is not configured', () => {
    const error = failureOf(() => resolveEncryptionCommandConfig({ NIMBUS_DATA_DIR: '/d' }))
    expect(error.code).toBe('encryption_not_configured')
    expect(error.remediation).toContain('NIMBUS_ENCRYPTION_KEY_PROVIDER')
  })

  it('is refused when a variable of another provider is set', () => {
    const error = failureOf(() =>
      resolveEncryptionCommandConfig({
        NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
        NIMBUS_ENCRYPTION_MASTER_KEY_FILE: '/k',
        NIMBUS_POSTGRES_URL: 'postgres://localhost/nimbus',
      }),
    )
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain('--postgres-url (NIMBUS_POSTGRES_URL, postgres_url)')
  })
})
