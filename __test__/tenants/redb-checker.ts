/** Recomputes every index of a redb tenant from its documents, and compares. */
import { expect } from 'vitest'
import { openProtected } from '../../src/encryption/protect.js'
import { type KvSnapshot, KvStore } from '../../src/native.js'
import { parseFields } from '../../src/tenants/json.js'
import { decodeDocument } from '../../src/tenants/redb/record.js'
import { asBuffer } from '../../src/tenants/redb/source.js'
import { decodeTable, valuesIn } from '../../src/tenants/redb/table.js'
import type { FileHome } from './file-home.js'

/** A tenant's file by itself, while no provider has it open; the caller closes it. */
export async function openTenantStore(home: FileHome, tenant: string): Promise<KvStore> {
  const path = home.fileOf(tenant)
  if (home.keys === undefined) return KvStore.open({ path, mode: 'open' })
  const { dek, fileId, manifest } = await openProtected(path, { family: 'redb_tenant', tenant }, home.keys)
  try {
    return KvStore.open({ path, mode: 'open', encryption: { dek, fileId, generation: manifest.current.generation } })
  } finally {
    dek.close()
  }
}

/** @returns how many entries of indexes there are */
export async function checkIndexes(home: FileHome, tenant: string): Promise<number> {
  const store = await openTenantStore(home, tenant)
  try {
    expect(await store.check()).toMatchObject({ sound: true })
    const snapshot = store.snapshot()
    const entries = checkSnapshot(snapshot, home.fileOf(tenant))
    snapshot.close()
    return entries
  } finally {
    await store.close()
  }
}

function checkSnapshot(snapshot: KvSnapshot, path: string): number {
  const known = new Set(['nimbus', 'tables'])
  let count = 0
  for (const [name, stored] of everything(snapshot, 'tables')) {
    const table = decodeTable(name.toString(), stored, path)
    known.add(table.docs)
    const documents = everything(snapshot, table.docs)
    for (const index of table.indexes) {
      known.add(index.entries)
      const entries = documents.map(([key, record]) => {
        const { fieldsJson } = decodeDocument(table.name, key, record, path)
        const { values, isUnique } = valuesIn(index, parseFields(fieldsJson))
        return { values, isUnique, entry: Buffer.concat([values, key]).toString('hex') }
      })
      const found = everything(snapshot, index.entries).map(([entry]) => entry.toString('hex'))
      expect(found, `${table.name}.${index.name}`).toEqual(entries.map(({ entry }) => entry).sort())
      const owned = entries.filter(({ isUnique }) => isUnique).map(({ values }) => values.toString('hex'))
      expect(new Set(owned).size).toBe(owned.length)
      count += found.length
    }
  }
  // What an interrupted change of a schema left was removed when the tenant was opened.
  expect(snapshot.tables().filter((table) => !known.has(table))).toEqual([])
  return count
}

function everything(snapshot: KvSnapshot, table: string): [Buffer, Buffer][] {
  const all: [Buffer, Buffer][] = []
  let from = { key: new Uint8Array(0), inclusive: true }
  for (;;) {
    const { pairs, hasMore } = snapshot.range(table, { from, limit: 1000, mostBytes: 1_048_576 })
    for (const [key, value] of pairs) all.push([asBuffer(key), asBuffer(value)])
    const last = pairs.at(-1)
    if (!hasMore || last === undefined) return all
    from = { key: Buffer.from(last[0]), inclusive: false }
  }
}
