/** How long work says how far it is, and is told to stop. */

export interface Progress {
  /** What is being done, as one says it of a file: `copying`, `checking`. */
  readonly phase: string
  /** Of this phase; `totalBytes` may be an estimate, and `doneBytes` never exceeds it. */
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface LongWork {
  /** Aborted: the work stops, puts the disk in order and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((path: string, progress: Progress) => void) | undefined
}
