/** Tenants as redb files, sealed or plain. */
import type { Protected } from '../../encryption/protect.js'
import { KvStore } from '../../native.js'
import type { TenantProvider } from '../contract.js'
import type { Engine } from '../files/engine.js'
import { FileProvider, type FileProviderOptions } from '../files/provider.js'
import { layoutOperation } from './layout.js'
import { RedbTenant } from './tenant.js'

export function createRedbProvider(options: FileProviderOptions): TenantProvider {
  return new FileProvider(redb, options)
}

const redb: Engine = {
  name: 'redb',
  family: 'redb_tenant',
  profile: 'sealed-redb-1',
  // A redb file is itself called `<file>.creating` until it is whole.
  creatingSuffix: '.nimbus-creating',

  start() {
    // The memory of open files is redb's and the sealed file's own.
  },

  async layOut(path, key, createdAtMs) {
    const store = await openStore(path, 'create', key)
    try {
      await store.write([layoutOperation(createdAtMs)])
    } finally {
      await store.close()
    }
  },

  async open(path, key) {
    const store = await openStore(path, 'open', key)
    try {
      return await RedbTenant.load(store, path)
    } catch (error) {
      await store.close()
      throw error
    }
  },

  async checkHead() {
    // What a plain file holds is not told by its beginning: its layout is read when it is opened.
  },
}

function openStore(path: string, mode: 'open' | 'create', key: Protected | undefined): Promise<KvStore> {
  const encryption = key && { dek: key.dek, fileId: key.fileId, generation: key.manifest.current.generation }
  return KvStore.openAsync({ path, mode, encryption })
}
