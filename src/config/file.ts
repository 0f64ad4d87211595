/** Reads the JSON config file strictly: one member, `persistence`, with known keys, none of them twice. */
import { readFileSync } from 'node:fs'
import { NimbusError, systemErrorCode } from '../errors.js'
import { nearest } from './nearest.js'
import { SETTINGS } from './settings.js'

/** The members of `persistence`, by key; their types are not checked yet. */
export function readConfigFile(path: string): ReadonlyMap<string, unknown> {
  const text = readText(path)
  const root = parseJson(text, path)
  refuseDuplicateKeys(text, path)
  const top = membersOf(root, 'it', path)
  for (const name of top.keys()) {
    if (name !== 'persistence') throw invalid(path, `unknown key "${name}"`, 'Put every setting under "persistence".')
  }
  const settings = membersOf(top.get('persistence') ?? {}, '"persistence"', path)
  const known = SETTINGS.flatMap((setting) => (setting.key === null ? [] : [setting.key]))
  for (const key of settings.keys()) {
    if (known.some((name) => name === key)) continue
    const guess = nearest(key, known)
    const remediation =
      guess === undefined ? 'Remove it; docs/configuration.md lists the keys.' : `Did you mean ${guess}?`
    throw invalid(path, `unknown key "${key}" under "persistence"`, remediation)
  }
  return settings
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = systemErrorCode(error) ?? 'unknown error'
    throw new NimbusError('config_invalid', `cannot read the config file ${path}: ${reason}`, {
      remediation: 'Correct the path in --config or NIMBUS_CONFIG.',
      path,
      cause: error,
    })
  }
}

/** The parser's own message is not passed on: it quotes the file, which may hold a password. */
function parseJson(text: string, path: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return value
  } catch (error) {
    const position = error instanceof Error ? /position (\d+)/.exec(error.message)?.[1] : undefined
    const where = position === undefined ? '' : ` (line ${text.slice(0, Number(position)).split('\n').length})`
    throw invalid(path, `it is not valid JSON${where}`, 'Correct the syntax of the file.')
  }
}

function membersOf(value: unknown, what: string, path: string): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(path, `${what} is not an object`, 'Write {"persistence": {"data_dir": "..."}}.')
  }
  return new Map(Object.entries(value))
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs

/** JSON.parse keeps the last of two equal keys, so an edit above it would have no effect. `text` is valid JSON. */
function refuseDuplicateKeys(text: string, path: string): void {
  const open: (Set<string> | null)[] = []
  let last = ''
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(null)
    else if (token === '}' || token === ']') open.pop()
    else if (token === ':') {
      const keys = open.at(-1)
      const key = String(JSON.parse(last))
      if (keys?.has(key) === true) throw invalid(path, `key "${key}" stands there twice`, 'Remove one of the two.')
      keys?.add(key)
    }
    last = token
  }
}

function invalid(path: string, what: string, remediation: string): NimbusError {
  return new NimbusError('config_invalid', `config file ${path}: ${what}`, { remediation, path })
}
