/** How long work says how far it is. */

export interface Progress {
  /** What is being done, as one says it of a file: `copying`, `checking`. */
  readonly phase: string
  /** Of this phase; `totalBytes` may be an estimate, and `doneBytes` never exceeds it. */
  readonly doneBytes: number
  readonly totalBytes: number
}
