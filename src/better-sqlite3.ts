/** What `@nimbus/storage/better-sqlite3` gives: the class as better-sqlite3 exports it. */
import { Database as NimbusDatabase } from './sqlite/database.js'
import { SqliteError } from './sqlite/sqlite-error.js'

const Database: typeof NimbusDatabase & { readonly SqliteError: typeof SqliteError } = Object.assign(NimbusDatabase, {
  SqliteError,
})
type Database = NimbusDatabase

export { Database, SqliteError }
// eslint-disable-next-line no-restricted-exports -- better-sqlite3's export is its class
export default Database
