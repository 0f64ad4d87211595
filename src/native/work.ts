/** Long work on whole files, on native threads: with progress, and told to stop by a signal. */
import type * as Addon from '../../index.js'
import { addon } from './addon.js'
import { fromFailure, guard } from './failure.js'
import type { KvEncryption } from './kv-store.js'
import { keepAlive } from './requests.js'
import type { StoreEncryption } from './sqlite-store.js'

/** A SQLite file; without `encryption` it is plain. */
export interface SqliteFile {
  path: string
  encryption?: StoreEncryption | undefined
}

export interface WorkOptions {
  /** Aborted: the work stops as soon as it can and rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { phase: string; doneBytes: number; totalBytes: number }) => void) | undefined
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

/** What `longWork` rejects with when a file is under another key: an answer, not a failure. */
export const OTHER_KEY = new Error('the file is under another key')

/** Work on a native thread, from its beginning to its last event, which is the answer. */
export async function longWork(
  { signal, onProgress }: WorkOptions,
  begin: (onEvent: (event: Addon.NativeWorkEvent) => void) => Addon.NativeWork,
): Promise<Addon.NativeWorkEvent> {
  signal?.throwIfAborted()
  keepAlive.hold()
  let cancel: (() => void) | undefined
  try {
    const last = await new Promise<Addon.NativeWorkEvent>((resolve) => {
      const work = guard(() =>
        begin((event) => {
          const { ended, phase = '', doneBytes = 0, totalBytes = 0 } = event
          if (ended) resolve(event)
          else onProgress?.({ phase, doneBytes, totalBytes })
        }),
      )
      cancel = () => work.cancel()
      signal?.addEventListener('abort', cancel)
    })
    const { failure } = last
    if (failure === undefined) return last
    if (failure.code === 'interrupted') signal?.throwIfAborted()
    if (failure.code === 'other_key') throw OTHER_KEY
    throw fromFailure(failure)
  } finally {
    if (cancel !== undefined) signal?.removeEventListener('abort', cancel)
    keepAlive.release()
  }
}
