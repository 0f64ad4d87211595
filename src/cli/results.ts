/** What an `encryption` command did, one result a file: for people, or as JSON. */
import type { Context } from './command.js'

export interface FileResult {
  readonly path: string
  /** One word: `migrated`, `rotated`, `skipped`. */
  readonly outcome: string
  /** What is left to do, or why. */
  readonly note?: string | undefined
}

/** The names of files are whatever somebody gave them, and a terminal obeys control characters. */
const UNPRINTABLE = /\p{C}/gu

/** `command` is what the user typed after `nimbus`: `encryption migrate`. */
export function printResults(command: string, results: readonly FileResult[], { format, print }: Context): void {
  print(format === 'json' ? `${JSON.stringify({ command, results })}\n` : results.map(resultText).join(''))
}

function resultText({ path, outcome, note }: FileResult): string {
  const line = `${outcome}: ${path}`.replace(UNPRINTABLE, '\ufffd')
  return note === undefined ? `${line}\n` : `${line}\n  ${note.replace(UNPRINTABLE, '\ufffd')}\n`
}
