/** Parses a command line against the flags that a command knows: strict, each flag at most once. */
import { NimbusError } from '../errors.js'
import { nearest } from './nearest.js'

export interface FlagSpec {
  /** With its dashes: `--data-dir`. */
  readonly flag: string
  /** How help names the value; null for a flag that stands alone. */
  readonly value: string | null
  readonly help: string
}

export type ParsedFlags = ReadonlyMap<string, string | true>

/** `command` is what the user typed before the flags; hints name it. Accepts `--flag value` and `--flag=value`. */
export function parseFlags(command: string, argv: readonly string[], specs: readonly FlagSpec[]): ParsedFlags {
  const parsed = new Map<string, string | true>()
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? ''
    const [flag, inline] = splitAtEquals(word)
    const spec = specs.find((known) => known.flag === flag)
    if (spec === undefined) throw unknownWord(command, flag, specs)
    if (parsed.has(flag)) throw usage(command, `${flag} is given twice`)
    if (spec.value === null) {
      if (inline !== undefined) throw usage(command, `${flag} takes no value`)
      parsed.set(flag, true)
      continue
    }
    const value = inline ?? argv[++index]
    const isNextFlag = inline === undefined && value?.startsWith('--') === true
    if (value === undefined || isNextFlag) throw usage(command, `${flag} needs a value: ${flag} ${spec.value}`)
    parsed.set(flag, value)
  }
  return parsed
}

function splitAtEquals(word: string): [string, string | undefined] {
  const equals = word.indexOf('=')
  if (!word.startsWith('--') || equals === -1) return [word, undefined]
  return [word.slice(0, equals), word.slice(equals + 1)]
}

function unknownWord(command: string, word: string, specs: readonly FlagSpec[]): NimbusError {
  const kind = word.startsWith('-') ? 'option' : 'argument'
  const guess = nearest(
    word,
    specs.map((spec) => spec.flag),
  )
  const remediation = guess === undefined ? undefined : `Did you mean ${guess}?`
  return usage(command, `${command} has no ${kind} ${JSON.stringify(word)}`, remediation)
}

function usage(command: string, message: string, remediation = `Run \`${command} --help\`.`): NimbusError {
  return new NimbusError('usage', message, { remediation })
}
