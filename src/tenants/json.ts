/** JSON values, and what a document's `fields` must be to be stored: I-JSON (RFC 7493) without U+0000, bounded in depth and size. */
import { NimbusError } from '../errors.js'

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject

export interface JsonObject {
  [member: string]: JsonValue
}

/** Objects and arrays within each other, `fields` itself included. MySQL stops at 100, SQLite at 1,000. */
export const MAX_DEPTH = 64
/** Of `fields` as stored JSON text in UTF-8: 1 MiB. */
export const MAX_FIELDS_BYTES = 1_048_576

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Refuses what JSON or a database would not give back as it was. Text that is not well-formed Unicode, or holds U+0000,
 * is cut, replaced or refused by databases, each in its own way, and then a filter no longer finds what was stored.
 *
 * @throws `invalid_request` with the path of the offending member.
 */
export function checkFields(fields: JsonObject): void {
  const fault = isPlainObject(fields) ? findFault(fields, 1) : { what: 'fields is not an object', members: [] }
  if (fault === undefined) return
  const path = pathOf(fault)
  throw new NimbusError('invalid_request', path === '' ? fault.what : `fields.${path} ${fault.what}`, {
    path: path === '' ? 'fields' : `fields.${path}`,
  })
}

/** The stored text of checked fields; `body_too_large` if it exceeds `MAX_FIELDS_BYTES`. */
export function serializeFields(fields: JsonObject): string {
  const text = JSON.stringify(fields)
  const bytes = text.length > MAX_FIELDS_BYTES ? text.length : Buffer.byteLength(text)
  if (bytes <= MAX_FIELDS_BYTES) return text
  throw new NimbusError('body_too_large', `the document's fields exceed ${MAX_FIELDS_BYTES} bytes of JSON`, {
    remediation: 'Split the document into smaller ones.',
  })
}

/** Whether a string may be stored or compared with: well-formed Unicode without U+0000. */
export function isStorableText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

/** `JSON.parse`, by its type: it returns nothing but JSON values. */
export function parseJson(text: string): JsonValue {
  const value: unknown = JSON.parse(text)
  if (!isJsonValue(value)) throw new TypeError('JSON.parse returned what JSON cannot hold')
  return value
}

/** The fields of a stored document. */
export function parseFields(text: string): JsonObject {
  const value = parseStored(text)
  if (isJsonObject(value)) return value
  throw new NimbusError('file_corrupt', 'a stored document is not a JSON object')
}

/** `undefined` for what is not JSON. */
function parseStored(text: string): JsonValue | undefined {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g

interface Fault {
  readonly what: string
  /** From the innermost member outwards: filled while the search unwinds, so that a sound document costs no path. */
  readonly members: (string | number)[]
}

function findFault(value: unknown, depth: number): Fault | undefined {
  switch (typeof value) {
    case 'string':
      return isStorableText(value) ? undefined : { what: 'holds U+0000 or half a surrogate pair', members: [] }
    case 'number':
      return Number.isFinite(value) ? undefined : { what: 'is not a finite number', members: [] }
    case 'boolean':
      return undefined
    case 'object':
      return value === null ? undefined : findFaultWithin(value, depth)
    default:
      return { what: `is a ${typeof value}, which JSON cannot hold`, members: [] }
  }
}

function findFaultWithin(container: object, depth: number): Fault | undefined {
  if (depth > MAX_DEPTH) return { what: `lies deeper than ${MAX_DEPTH} objects and arrays`, members: [] }
  if (Array.isArray(container)) {
    for (const [index, item] of container.entries()) {
      const fault = findFault(item, depth + 1)
      if (fault !== undefined) return within(index, fault)
    }
    return undefined
  }
  for (const [name, member] of Object.entries(container)) {
    const named: Fault | undefined = isStorableText(name)
      ? undefined
      : { what: 'has a name with U+0000 or half a surrogate pair', members: [] }
    const fault = named ?? findFault(member, depth + 1)
    if (fault !== undefined) return within(name, fault)
  }
  return undefined
}

function within(member: string | number, fault: Fault): Fault {
  fault.members.push(member)
  return fault
}

/** Shortened, and safe to print: the names come from the request. */
function pathOf(fault: Fault): string {
  const path = fault.members.reverse().slice(0, 8).join('.')
  return path.replace(UNSAFE, '\u{fffd}').toWellFormed().slice(0, 256)
}

/** Shallow: for what is known to come out of `JSON.parse`. */
function isJsonValue(value: unknown): value is JsonValue {
  return value === null || ['boolean', 'number', 'string', 'object'].includes(typeof value)
}

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
