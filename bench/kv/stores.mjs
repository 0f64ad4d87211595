/** The stores that are compared: each with the same bytes as keys and values, and nothing acknowledged before it is on the disk. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

/**
 * @typedef {object} Opened
 * @property {(key: Buffer) => Uint8Array | undefined} get on the calling thread
 * @property {(pairs: [Buffer, Buffer][]) => Promise<void>} putAll in one durable transaction
 * @property {(from: Buffer, limit: number) => Iterable<unknown> | AsyncIterable<unknown>} range
 * @property {() => Promise<void>} close
 */

/** @type {Record<string, (folder: string) => Promise<Opened>>} */
export const stores = {
  'nimbus, sealed': (folder) => openNimbus(folder, randomBytes(32)),
  'nimbus, plain': (folder) => openNimbus(folder, undefined),
  'lmdb-js, encrypted': (folder) => openLmdb(folder, randomBytes(16).toString('hex')),
  'lmdb-js, plain': (folder) => openLmdb(folder, undefined),
  'classic-level, plain': openClassicLevel,
}

async function openNimbus(folder, key) {
  const { Store, bytes } = await import('../../dist/index.js')
  const store = await Store.open({ path: join(folder, 'store.redb'), key })
  const table = store.table('t', { keys: bytes, values: bytes })
  return {
    get: (key) => table.get(key),
    async putAll(pairs) {
      const batch = store.batch()
      for (const [key, value] of pairs) batch.put(table, key, value)
      await batch.write()
    },
    range: (from, limit) => table.range({ gte: from, limit }),
    close: () => store.close(),
  }
}

async function openLmdb(folder, encryptionKey) {
  const { open } = await import('lmdb')
  // Commits are answered when they are on the disk, as everywhere here.
  const options = { overlappingSync: false, keyEncoding: 'binary', encoding: 'binary', mapSize: 2 ** 32 }
  const db = open({ path: join(folder, 'store.lmdb'), ...options, ...(encryptionKey && { encryptionKey }) })
  return {
    get: (key) => db.get(key),
    async putAll(pairs) {
      await db.transaction(() => {
        for (const [key, value] of pairs) db.put(key, value)
      })
    },
    range: (from, limit) => db.getRange({ start: from, limit }),
    close: () => db.close(),
  }
}

async function openClassicLevel(folder) {
  const { ClassicLevel } = await import('classic-level')
  const db = new ClassicLevel(join(folder, 'level'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await db.open()
  return {
    get: (key) => db.getSync(key),
    putAll: (pairs) =>
      db.batch(
        pairs.map(([key, value]) => ({ type: 'put', key, value })),
        { sync: true },
      ),
    // It has no iterator for the calling thread.
    range: (from, limit) => db.iterator({ gte: from, limit }),
    close: () => db.close(),
  }
}
