/** Field paths: how filters, orders, schemas and indexes name a member of a document (`title`, `author.name`). */
import { NimbusError } from '../errors.js'
import { type JsonObject, type JsonValue, isJsonObject } from './json.js'

/**
 * A path is one to eight names joined by dots, each of letters, digits, `_` and `-` of any script. It names members of
 * objects only: an array has no members, and a member whose own name holds a dot cannot be named.
 *
 * The alphabet is what makes a path safe to stand between the quotes of a JSON path in every provider's SQL.
 */
const FIELD_PATH = /^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+){0,7}$/u
const MAX_PATH_LENGTH = 256

/** The names of a path, outermost first. `where` says which part of the request it is, such as `filters.0.field`. */
export function parseFieldPath(path: string, where: string): readonly string[] {
  if (path.length <= MAX_PATH_LENGTH && FIELD_PATH.test(path)) return path.split('.')
  throw new NimbusError('invalid_request', `${where} is not a field path`, {
    path: where,
    remediation: 'Name a field by letters, digits, _ and -, nested ones joined by dots: author.name.',
  })
}

/** The value at a path, `undefined` where the document has none. */
export function readField(fields: JsonObject, names: readonly string[]): JsonValue | undefined {
  let value: JsonValue | undefined = fields
  for (const name of names) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

/** A copy of `fields` with another value at a path whose parents all exist. */
export function withField(fields: JsonObject, names: readonly string[], value: JsonValue): JsonObject {
  const [name, ...rest] = names
  if (name === undefined) return fields
  const member = fields[name]
  const replaced = rest.length > 0 && isJsonObject(member) ? withField(member, rest, value) : value
  return Object.fromEntries(Object.entries(fields).map(([key, old]) => [key, key === name ? replaced : old]))
}
