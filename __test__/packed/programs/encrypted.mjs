/** What every program of this folder begins with: the file it works on, and the class of better-sqlite3 with a key in it. */
import { Database } from '@nimbus/storage'

export const key = Buffer.alloc(32, 7)
export const file = process.argv[2]

/** For libraries that make the database themselves and know nothing of keys. */
export class EncryptedDatabase extends Database {
  constructor(path, options) {
    super(path, { ...options, key })
  }
}

/** The two tables that every ORM is given. */
export const schema = `
  CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
  CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, author_id INTEGER NOT NULL REFERENCES users (id));
`
