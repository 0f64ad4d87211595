/** A directory for a provider of local files, plain or encrypted, and the providers that are opened on it. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import type { TenantProvider } from '../../src/tenants/contract.js'
import type { FileProviderOptions } from '../../src/tenants/files/provider.js'
import { createRedbProvider } from '../../src/tenants/redb/provider.js'
import { createSqliteProvider } from '../../src/tenants/sqlite/provider.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import type { Home } from './contract/home.js'

export interface FileHome extends Home {
  readonly directory: string
  readonly keyFile: string
  readonly keys: KeyProvider | undefined
  open(options?: Partial<FileProviderOptions>): Promise<TenantProvider>
  /** The path of a tenant's database. */
  fileOf(tenant: string): string
}

export const MODES = ['plain', 'encrypted'] as const
export type Mode = (typeof MODES)[number]

const PROVIDERS = {
  sqlite: { create: createSqliteProvider, suffix: '.sqlite3' },
  redb: { create: createRedbProvider, suffix: '.redb' },
} as const
export type Kind = keyof typeof PROVIDERS
export const KINDS = ['sqlite', 'redb'] as const satisfies readonly Kind[]

export const makeSqliteHome = (mode: Mode, options: Partial<FileProviderOptions> = {}) =>
  makeFileHome('sqlite', mode, options)
export const makeRedbHome = (mode: Mode, options: Partial<FileProviderOptions> = {}) =>
  makeFileHome('redb', mode, options)

export async function makeFileHome(
  kind: Kind,
  mode: Mode,
  options: Partial<FileProviderOptions> = {},
): Promise<FileHome> {
  const { create, suffix } = PROVIDERS[kind]
  const root = temporaryDirectory()
  const directory = path.join(root, 'data')
  const keyFile = writeIn(root, 'master.key', randomBytes(32), 0o400)
  const keys = mode === 'plain' ? undefined : await openMasterKeyFile(keyFile, [directory])
  onTestFinished(() => keys?.close())
  return {
    directory,
    keyFile,
    keys,
    fileOf: (tenant) => path.join(directory, tenant + suffix),
    async open(more) {
      const provider = create({ directory, keys, ...options, ...more })
      onTestFinished(() => provider.close())
      await provider.start()
      return provider
    },
  }
}
