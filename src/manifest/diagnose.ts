/** Names what is wrong with the text of a manifest that was refused already; nothing is ever accepted because of it. */
import { quote } from '../keys/quote.js'

export interface TextDefect {
  readonly reason: 'truncated' | 'trailing_bytes' | 'duplicate_field' | 'not_json' | 'not_canonical'
  readonly what: string
}

const MAX_DEPTH = 8
const SPACE = /[ \t\n\r]*/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const SCALAR = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null/y

/** The first defect of the text as JSON, or that it is JSON but not spelled as nimbus spells it. */
export function diagnoseText(text: string): TextDefect {
  const scanner = new Scanner(text)
  const defect = scanner.value(0) ?? scanner.end()
  return defect ?? { reason: 'not_canonical', what: 'its spaces, escapes, numbers or order of fields were changed' }
}

class Scanner {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  value(depth: number): TextDefect | undefined {
    this.#take(SPACE)
    const first = this.#text[this.#at]
    if (depth > MAX_DEPTH) return this.#unexpected()
    if (first === '{') return this.#members(depth, '}')
    if (first === '[') return this.#members(depth, ']')
    if (this.#take(STRING) !== '' || this.#take(SCALAR) !== '') return undefined
    return first === '"' ? this.#brokenString() : this.#unexpected()
  }

  end(): TextDefect | undefined {
    const rest = this.#text.slice(this.#at)
    if (rest === '\n') return undefined
    if (rest === '') return { reason: 'truncated', what: 'it was cut off: its last line end is missing' }
    const bytes = Buffer.byteLength(rest.startsWith('\n') ? rest.slice(1) : rest, 'utf8')
    return { reason: 'trailing_bytes', what: `${bytes} ${bytes === 1 ? 'byte follows' : 'bytes follow'} its end` }
  }

  #members(depth: number, close: '}' | ']'): TextDefect | undefined {
    const names = new Set<string>()
    this.#at += 1
    if (this.#skipTo(close)) return undefined
    for (;;) {
      const defect = (close === '}' ? this.#name(names) : undefined) ?? this.value(depth + 1)
      if (defect !== undefined) return defect
      if (this.#skipTo(close)) return undefined
      if (!this.#skipTo(',')) return this.#unexpected()
    }
  }

  #name(names: Set<string>): TextDefect | undefined {
    this.#take(SPACE)
    const literal = this.#take(STRING)
    if (literal === '') return this.#text[this.#at] === '"' ? this.#brokenString() : this.#unexpected()
    const name = String(JSON.parse(literal))
    if (names.has(name)) return { reason: 'duplicate_field', what: `the field ${quote(name)} occurs twice` }
    names.add(name)
    return this.#skipTo(':') ? undefined : this.#unexpected()
  }

  #skipTo(character: string): boolean {
    this.#take(SPACE)
    if (this.#text[this.#at] !== character) return false
    this.#at += 1
    return true
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0] ?? ''
    this.#at += found.length
    return found
  }

  #brokenString(): TextDefect {
    return this.#text.includes('"', this.#at + 1) ? this.#unexpected() : this.#truncated()
  }

  #unexpected(): TextDefect {
    const rest = this.#text.slice(this.#at, this.#at + 'false'.length)
    if (['true', 'false', 'null'].some((literal) => literal.startsWith(rest))) return this.#truncated()
    return { reason: 'not_json', what: `it is not JSON from character ${this.#at} on` }
  }

  #truncated(): TextDefect {
    return { reason: 'truncated', what: `it was cut off after ${this.#text.length} characters` }
  }
}
