/** What a command is: it parses its words, calls one function below, and reports. */
import type { FlagSpec } from '../config/flags.js'
import type { Environment } from '../config/sources.js'

export type Format = 'human' | 'json'

export interface Context {
  readonly env: Environment
  readonly format: Format
  /** Results only; everything else goes to stderr. */
  readonly print: (text: string) => void
  /** A message for people, as `nimbus: <what>` and `hint: <one thing to do>`. */
  readonly warn: (what: string, hint: string) => void
}

export interface Command {
  /** Everything after the command's own words: `[options]`. */
  readonly usage: string
  /** What help says below the usage, in whole sentences. */
  readonly description: string
  /** Sections of help: settings come in groups. */
  readonly sections: readonly HelpSection[]
  /** The exit code. `argv` is what follows the command's own words, without `--format`. */
  run(argv: readonly string[], context: Context): Promise<number>
}

export interface HelpSection {
  readonly title: string
  readonly flags: readonly HelpFlag[]
}

/** A flag with what help says besides: its default, its other names. */
export interface HelpFlag extends FlagSpec {
  readonly notes?: readonly string[]
}
