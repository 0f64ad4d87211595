/** Plain databases to migrate, and what is in encrypted ones. */
import { SqliteStore } from '../../src/native.js'
import type { Protected } from '../../src/encryption/protect.js'

const ROWS = 19_500

/** A plain database with some megabytes in it: enough for a copy to report where it is. */
export async function plainDatabase(file: string): Promise<void> {
  const store = SqliteStore.open({ path: file, mode: 'create', exclusive: true })
  await store.write([
    { sql: 'CREATE TABLE notes (title TEXT, body BLOB)' },
    {
      sql: `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT ${ROWS})
            INSERT INTO notes SELECT 'note ' || x, randomblob(200) FROM n`,
    },
    { sql: 'CREATE VIRTUAL TABLE words USING fts5(text)' },
    { sql: "INSERT INTO words VALUES ('needle in a haystack')" },
    { sql: 'PRAGMA user_version = 7' },
  ])
  await store.close()
}

/** What `plainDatabase` put in: the rows, a word that is found, and a number in the header. */
export const CONTENTS = [ROWS, 'needle in a haystack', 7]

export async function contentsOfCopy(path: string, file?: Protected): Promise<unknown[]> {
  const encryption = file && { dek: file.dek, fileId: file.fileId, profile: 'sqlcipher-4' as const }
  const store = SqliteStore.open({ path, mode: 'open', exclusive: true, encryption })
  const row = store.get(
    `SELECT (SELECT count(*) FROM notes WHERE length(body) = 200 AND title = 'note ' || rowid),
            (SELECT text FROM words WHERE words MATCH 'needle'), (SELECT user_version FROM pragma_user_version)`,
    [],
  )
  await store.close()
  return row ?? []
}
