/** Table schemas: typed fields, which of them are required, and the indexes to keep. */
import { NimbusError } from '../errors.js'
import { canonicalDateTime } from './datetime.js'
import { parseFieldPath, readField, withField } from './field-path.js'
import { type JsonObject, type JsonValue, isJsonObject } from './json.js'

/** `datetime` is an RFC 3339 string, stored in UTC with milliseconds; `json` is any value. */
export type FieldType = 'string' | 'number' | 'boolean' | 'datetime' | 'json'

export interface FieldRule {
  readonly type: FieldType
  /** The field must be there, and must not be `null` unless its type is `json`. */
  readonly required: boolean
}

export interface IndexRule {
  readonly name: string
  /** Field paths, most significant first. They need not be among the schema's fields. */
  readonly fields: readonly string[]
  /**
   * No two documents hold equal values in all of the fields. A document in which one of them is missing, `null`, an array
   * or an object takes no part.
   */
  readonly unique: boolean
}

/** Fields that a schema does not name are free. A table without a schema accepts any fields. */
export interface TableSchema {
  /** By field path. */
  readonly fields: Readonly<Record<string, FieldRule>>
  readonly indexes: readonly IndexRule[]
}

/** What a client sends: the flags may be left out and are then false. */
export interface TableSchemaInput {
  readonly fields?:
    Readonly<Record<string, { readonly type: FieldType; readonly required?: boolean | undefined }>> | undefined
  readonly indexes?:
    | readonly { readonly name: string; readonly fields: readonly string[]; readonly unique?: boolean | undefined }[]
    | undefined
}

const MAX_FIELDS = 256
const MAX_INDEXES = 32
const MAX_INDEX_FIELDS = 8
const INDEX_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/
const FIELD_TYPES = ['string', 'number', 'boolean', 'datetime', 'json'] as const

/** The schema with every flag spelled out; `invalid_request` naming the part that is wrong. */
export function checkSchema(input: TableSchemaInput): TableSchema {
  const fields = Object.entries(input.fields ?? {})
  const indexes = input.indexes ?? []
  if (fields.length > MAX_FIELDS) throw invalid('fields', `names more than ${MAX_FIELDS} fields`)
  if (indexes.length > MAX_INDEXES) throw invalid('indexes', `names more than ${MAX_INDEXES} indexes`)
  const names = new Set(indexes.map((index) => index.name))
  if (names.size < indexes.length) throw invalid('indexes', 'names two indexes alike')
  return {
    fields: Object.fromEntries(
      fields.map(([path, { type, required = false }]) => {
        parseFieldPath(path, 'fields')
        if (!FIELD_TYPES.includes(type)) throw invalid(`fields.${path}.type`, `is none of ${FIELD_TYPES.join(', ')}`)
        return [path, { type, required }]
      }),
    ),
    indexes: indexes.map(({ name, fields, unique = false }, at) => {
      if (!INDEX_NAME.test(name)) throw invalid(`indexes.${at}.name`, `does not match ${INDEX_NAME.source}`)
      if (fields.length === 0 || fields.length > MAX_INDEX_FIELDS) {
        throw invalid(`indexes.${at}.fields`, `does not name 1 to ${MAX_INDEX_FIELDS} fields`)
      }
      if (new Set(fields).size < fields.length) throw invalid(`indexes.${at}.fields`, 'names a field twice')
      for (const path of fields) parseFieldPath(path, `indexes.${at}.fields`)
      return { name, fields: [...fields], unique }
    }),
  }
}

/** The inverse of `JSON.stringify` of a checked schema; `undefined` for anything else. */
export function decodeSchema(stored: JsonValue): TableSchema | undefined {
  if (!isJsonObject(stored) || !isJsonObject(stored['fields']) || !Array.isArray(stored['indexes'])) return undefined
  const fields = Object.entries(stored['fields']).map(([path, rule]) => [path, decodeRule(rule)] as const)
  const indexes = stored['indexes'].map(decodeIndex)
  const isWhole = fields.every(([, rule]) => rule !== undefined) && indexes.every((index) => index !== undefined)
  if (!isWhole) return undefined
  return {
    fields: Object.fromEntries(fields.flatMap(([path, rule]) => (rule === undefined ? [] : [[path, rule]]))),
    indexes,
  }
}

function decodeRule(stored: JsonValue): FieldRule | undefined {
  if (!isJsonObject(stored)) return undefined
  const type = FIELD_TYPES.find((name) => name === stored['type'])
  const required = stored['required']
  return type === undefined || typeof required !== 'boolean' ? undefined : { type, required }
}

function decodeIndex(stored: JsonValue): IndexRule | undefined {
  if (!isJsonObject(stored)) return undefined
  const { name, fields, unique } = stored
  if (typeof name !== 'string' || typeof unique !== 'boolean' || !Array.isArray(fields)) return undefined
  const paths = fields.filter((path) => typeof path === 'string')
  return paths.length === fields.length ? { name, fields: paths, unique } : undefined
}

/**
 * The fields as they are stored under a schema: datetimes in UTC, everything else as it was.
 *
 * @throws `schema_violation` with the path of the first offending field.
 */
export function conform(schema: TableSchema | undefined, fields: JsonObject): JsonObject {
  if (schema === undefined) return fields
  let conforming = fields
  for (const [path, rule] of Object.entries(schema.fields)) {
    const names = path.split('.')
    const value = readField(conforming, names)
    const stored = conformValue(path, rule, value)
    if (stored !== undefined && stored !== value) conforming = withField(conforming, names, stored)
  }
  return conforming
}

/** Refuses stored fields that writing them again under the schema would refuse or change. Schemas never rewrite documents. */
export function requireConforming(schema: TableSchema, fields: JsonObject): void {
  for (const [path, rule] of Object.entries(schema.fields)) {
    const value = readField(fields, path.split('.'))
    const stored = conformValue(path, rule, value)
    if (stored !== value) {
      throw violation(
        path,
        `is a datetime that is not in UTC with milliseconds`,
        `Store it as ${JSON.stringify(stored)}.`,
      )
    }
  }
}

function conformValue(
  path: string,
  { type, required }: FieldRule,
  value: JsonValue | undefined,
): JsonValue | undefined {
  if (value === undefined) {
    if (required) throw violation(path, 'is required and missing')
    return undefined
  }
  if (type === 'json') return value
  if (value === null) {
    if (required) throw violation(path, 'is required and null')
    return null
  }
  if (type !== 'datetime') {
    if (typeof value !== type) throw violation(path, `is ${article(value)}, not a ${type}`)
    return value
  }
  if (typeof value !== 'string') throw violation(path, `is ${article(value)}, not a datetime`)
  const instant = canonicalDateTime(value)
  if (instant !== undefined) return instant
  throw violation(
    path,
    'is not an RFC 3339 date-time in whole milliseconds',
    'Send it as 2026-01-31T09:30:00.000Z; any offset will do.',
  )
}

/** How a value is named in a message; the value itself stays out of messages and logs. */
function article(value: JsonValue): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function violation(path: string, what: string, remediation?: string): NimbusError {
  return new NimbusError('schema_violation', `field ${path} ${what}`, { path, remediation })
}

function invalid(where: string, what: string): NimbusError {
  return new NimbusError('invalid_request', `${where} ${what}`, { path: where })
}
