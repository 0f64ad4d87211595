/** Tenants as SQLite files, encrypted by SQLCipher or plain. */
import type { Protected } from '../../encryption/protect.js'
import { NimbusError } from '../../errors.js'
import { sqlcipherProfile } from '../../keys/profile.js'
import { readHead } from '../../manifest/file.js'
import { SqliteStore, setPageCacheBudget } from '../../native.js'
import type { TenantProvider } from '../contract.js'
import type { Engine } from '../files/engine.js'
import { FileProvider, type FileProviderOptions } from '../files/provider.js'
import { layoutSteps, requireLayout } from './layout.js'
import { SqliteTenant } from './tenant.js'

const PAGE_CACHE_BYTES = 256 * 1_048_576
const PAGE_CACHE_BYTES_PER_TENANT = 64 * 1_048_576
/** "The Database Header": the layout version at offset 60, the application id at 68. */
const HEADER_BYTES = 100

export function createSqliteProvider(options: FileProviderOptions): TenantProvider {
  return new FileProvider(sqlite, options)
}

const sqlite: Engine = {
  name: 'sqlite',
  family: 'sqlite_tenant',
  profile: 'sqlcipher-4-sha256',
  creatingSuffix: '.creating',

  start() {
    setPageCacheBudget(PAGE_CACHE_BYTES, PAGE_CACHE_BYTES_PER_TENANT)
  },

  /** The layout reaches the data file itself: its first page must not be only in a log beside it. */
  async layOut(path, key, createdAtMs) {
    const store = openStore(path, 'create', key)
    try {
      await store.write(layoutSteps(createdAtMs))
      await store.checkpoint()
    } finally {
      await store.close()
    }
  },

  async open(path, key) {
    const store = openStore(path, 'open', key)
    try {
      return SqliteTenant.load(store, path)
    } catch (error) {
      await store.close()
      throw error
    }
  },

  async checkHead(path) {
    const header = Buffer.from((await readHead(path, HEADER_BYTES)) ?? [])
    if (header.length < HEADER_BYTES) {
      throw new NimbusError('file_corrupt', `${path} was cut off after ${header.length} bytes`, { path })
    }
    requireLayout(header.readUInt32BE(68), header.readUInt32BE(60), path)
  },
}

function openStore(path: string, mode: 'open' | 'create', key: Protected | undefined): SqliteStore {
  const encryption = key && { dek: key.dek, fileId: key.fileId, profile: sqlcipherProfile(key.profile) }
  return SqliteStore.open({ path, mode, exclusive: true, encryption })
}
