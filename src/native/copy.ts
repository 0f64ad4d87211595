/** Whole databases into new files, plain or encrypted, on native threads. */
import { addon } from './addon.js'
import type { KvEncryption } from './kv-store.js'
import type { StoreEncryption } from './sqlite-store.js'
import { type WorkOptions, longWork } from './work.js'

/** A SQLite file; without `encryption` it is plain. */
export interface SqliteFile {
  path: string
  encryption?: StoreEncryption | undefined
}

/**
 * Copies a SQLite database, from plain to encrypted or back, into a file that does not exist; its log is folded in before. With
 * `validate` both are read again and compared. Durable when it resolves; what is at the target after a failure is the
 * caller's to remove. Rejects with `data_missing`, `target_exists`, `file_busy`, `file_corrupt`, `disk_full`,
 * `data_dir_unwritable`, `io_error`, or `StatementError` for a schema that SQLite alone does not understand.
 */
export async function copySqlite(
  source: SqliteFile,
  target: SqliteFile,
  { validate, ...options }: WorkOptions & { validate: boolean },
): Promise<void> {
  const file = ({ path, encryption }: SqliteFile) => ({ path, ...encryption })
  await longWork(options, (onEvent) => addon.copyDatabase(file(source), file(target), validate, onEvent))
}

/** A redb file; without `encryption` it is plain. */
export interface RedbFile {
  path: string
  encryption?: KvEncryption | undefined
}

/** As `copySqlite`, for redb: every page as it is, whatever its tables are. The caller holds the locks of both files. */
export async function copyRedb(
  source: RedbFile,
  target: RedbFile,
  { validate, ...options }: WorkOptions & { validate: boolean },
): Promise<void> {
  const file = ({ path, encryption }: RedbFile) => ({ path, ...encryption })
  await longWork(options, (onEvent) => addon.copyRedb(file(source), file(target), validate, onEvent))
}
