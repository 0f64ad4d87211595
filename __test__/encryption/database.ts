/** A real encrypted database beside its manifest, and what is in it. */
import { expect } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { createProtected, markActive } from '../../src/encryption/protect.js'
import type { RotationEnd } from '../../src/encryption/settle-rotation.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { sqlcipherProfile } from '../../src/keys/profile.js'
import { SqliteStore } from '../../src/native.js'
import { DEMO, type Place } from './setup.js'

/** Makes `where.file`, a database of about `pages` pages. */
export async function madeDatabase({ file, provider }: Pick<Place, 'file' | 'provider'>, pages = 600): Promise<void> {
  const made = await createProtected(file, DEMO, provider, 'sqlcipher-4-sha256')
  const encryption = { dek: made.dek, fileId: made.fileId, profile: sqlcipherProfile(made.profile) }
  const store = SqliteStore.open({ path: file, mode: 'create', exclusive: true, encryption })
  await store.write([
    { sql: 'CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT, bytes BLOB)' },
    { sql: 'CREATE INDEX rows_by_text ON rows (text)' },
    {
      sql: `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${pages})
        INSERT INTO rows SELECT i, 'row ' || i, zeroblob(3000) FROM n`,
    },
    // Free pages are rewritten too.
    { sql: 'DELETE FROM rows WHERE id % 10 = 0' },
  ])
  await store.checkpoint()
  await store.close()
  const active = await markActive(made)
  active.dek.close()
}

export interface Opened {
  /** How a pending rotation ended. */
  readonly end: RotationEnd | undefined
  readonly generation: bigint
}

/** Starts as a server does, and reads everything: what it finds must be what `madeDatabase` made. */
export async function opened(
  { file, provider }: { file: string; provider: KeyProvider },
  pages = 600,
): Promise<Opened> {
  let end: RotationEnd | undefined
  const found = await checkProtected(file, DEMO, provider, { onRotation: (_, how) => (end = how) })
  if (found === undefined) return expect.fail('the file is gone')
  expect(found.manifest.state).toBe('active')
  const { dek, fileId, profile } = found
  const encryption = { dek, fileId, profile: sqlcipherProfile(profile) }
  const store = SqliteStore.open({ path: file, mode: 'open', exclusive: true, encryption })
  try {
    const [row] = await store.query(
      'SELECT count(*), sum(id), count(DISTINCT text), sum(length(bytes)), min(bytes = zeroblob(3000)) FROM rows',
      [],
    )
    const ids = Array.from({ length: pages }, (_, at) => at + 1).filter((id) => id % 10 !== 0)
    const sum = ids.reduce((total, id) => total + id, 0)
    expect(row).toEqual([ids.length, sum, ids.length, ids.length * 3000, 1])
    expect(await store.query('PRAGMA integrity_check', [])).toEqual([['ok']])
  } finally {
    await store.close()
    dek.close()
  }
  return { end, generation: found.manifest.current.generation }
}
