/** The tenant provider that the configuration names. */
import type { StorageConfig } from '../config/storage.js'
import type { TenantProvider } from './contract.js'
import type { FileProviderOptions } from './files/provider.js'
import { createRedbProvider } from './redb/provider.js'
import { createSqliteProvider } from './sqlite/provider.js'

const CREATE = { sqlite: createSqliteProvider, redb: createRedbProvider } as const satisfies Record<
  StorageConfig['tenantProvider'],
  unknown
>

export function createTenantProvider(
  name: StorageConfig['tenantProvider'],
  options: FileProviderOptions,
): TenantProvider {
  return CREATE[name](options)
}
