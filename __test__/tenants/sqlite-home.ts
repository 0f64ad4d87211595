/** A directory for the SQLite provider, plain or encrypted, and the providers that are opened on it. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import type { TenantProvider } from '../../src/tenants/contract.js'
import type { FileProviderOptions } from '../../src/tenants/files/provider.js'
import { createSqliteProvider } from '../../src/tenants/sqlite/provider.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import type { Home } from './contract/home.js'

export interface SqliteHome extends Home {
  readonly directory: string
  readonly keyFile: string
  readonly keys: KeyProvider | undefined
  open(options?: Partial<FileProviderOptions>): Promise<TenantProvider>
  /** The path of a tenant's database. */
  fileOf(tenant: string): string
}

export const MODES = ['plain', 'encrypted'] as const
export type Mode = (typeof MODES)[number]

export async function makeSqliteHome(mode: Mode, options: Partial<FileProviderOptions> = {}): Promise<SqliteHome> {
  const root = temporaryDirectory()
  const directory = path.join(root, 'data')
  const keyFile = writeIn(root, 'master.key', randomBytes(32), 0o400)
  const keys = mode === 'plain' ? undefined : await openMasterKeyFile(keyFile, [directory])
  onTestFinished(() => keys?.close())
  return {
    directory,
    keyFile,
    keys,
    fileOf: (tenant) => path.join(directory, `${tenant}.sqlite3`),
    async open(more) {
      const provider = createSqliteProvider({ directory, keys, ...options, ...more })
      onTestFinished(() => provider.close())
      await provider.start()
      return provider
    },
  }
}
