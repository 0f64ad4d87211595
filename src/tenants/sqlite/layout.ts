/** What a tenant's file holds besides its documents: who made it, in which layout, and the catalog of its tables. */
import type { SqliteStore, Step } from '../../native.js'
import { laterLayout, notATenant } from '../files/engine.js'

/** `NIMB`, in the file's header ("The Database Header", offset 68): a SQLite file without it is somebody else's. */
export const APPLICATION_ID = 0x4e49_4d42
/** `user_version` (offset 60). A version of nimbus reads the layouts up to its own and refuses later ones. */
export const LAYOUT_VERSION = 1

/**
 * `nimbus_tables.keys` and `.indexes` are JSON objects: field path to number of the key column, and name to number of the
 * index. `schema` is the schema as the client gets it, NULL where there is none.
 */
export function layoutSteps(createdAt: number): Step[] {
  return [
    { sql: `PRAGMA application_id = ${APPLICATION_ID}` },
    { sql: `PRAGMA user_version = ${LAYOUT_VERSION}` },
    { sql: 'CREATE TABLE nimbus_tenant (created_at INTEGER NOT NULL)' },
    { sql: 'INSERT INTO nimbus_tenant (created_at) VALUES (?1)', params: [createdAt] },
    {
      sql: `CREATE TABLE nimbus_tables (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        schema TEXT,
        keys TEXT NOT NULL,
        indexes TEXT NOT NULL
      )`,
    },
  ]
}

/** Refuses a file that is no tenant, or one that a later version of nimbus has written. */
export function requireLayout(applicationId: unknown, layoutVersion: unknown, path: string): void {
  if (applicationId !== APPLICATION_ID) throw notATenant(path, 'its application id is another')
  if (layoutVersion === LAYOUT_VERSION) return
  throw laterLayout(path, layoutVersion, LAYOUT_VERSION)
}

/** What `requireLayout` wants to know of an open file. */
export function checkLayout(store: SqliteStore, path: string): void {
  const sql = 'SELECT a.application_id, u.user_version FROM pragma_application_id AS a, pragma_user_version AS u'
  const [applicationId, layoutVersion] = store.get(sql, []) ?? []
  requireLayout(applicationId, layoutVersion, path)
}

export function readCreatedAt(store: SqliteStore): number {
  return Number(store.get('SELECT created_at FROM nimbus_tenant', [])?.[0] ?? 0)
}
