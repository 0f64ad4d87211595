/** Checks requests against their schemas, strictly: nothing is coerced, removed or filled in. */
import { Ajv, type ErrorObject } from 'ajv'
import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { NimbusError } from '../errors.js'

// Stops at the first fault: collecting all of them lets a body of 100,000 unknown fields block the event loop.
const ajv = new Ajv({ allErrors: false, coerceTypes: false, removeAdditional: false, useDefaults: false, strict: true })

export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const isValid = ajv.compile(schema)
  const integers = httpPart === 'querystring' ? integerMembers(schema) : []
  return (value: unknown) => {
    const checked = integers.length > 0 ? readIntegers(value, integers) : value
    if (isValid(checked)) return { value: checked }
    return { error: refusal(isValid.errors?.[0], httpPart ?? 'request') }
  }
}

function integerMembers(schema: TSchema): string[] {
  if (!('properties' in schema) || typeof schema.properties !== 'object' || schema.properties === null) return []
  return Object.entries(schema.properties).flatMap(([name, member]: [string, unknown]) =>
    typeof member === 'object' && member !== null && 'type' in member && member.type === 'integer' ? [name] : [],
  )
}

/** A query string has no numbers: decimal digits, and nothing else, become one where the schema wants an integer. */
function readIntegers(query: unknown, names: readonly string[]): unknown {
  const read = new Map(Object.entries(query ?? {}))
  for (const name of names) {
    const text: unknown = read.get(name)
    if (typeof text === 'string' && /^(?:0|[1-9][0-9]{0,14})$/.test(text)) read.set(name, Number(text))
  }
  return Object.fromEntries(read)
}

const PARTS: Readonly<Record<string, string>> = { body: 'body', querystring: 'query', params: 'path' }

function refusal(error: ErrorObject | undefined, httpPart: string): NimbusError {
  const part = PARTS[httpPart] ?? httpPart
  if (error === undefined) return new NimbusError('invalid_request', `the ${part} does not satisfy its schema`)
  const path = memberPath(error)
  const where = path === '' ? `the ${part}` : `${part}.${path}`
  return new NimbusError('invalid_request', `${where} ${ruleOf(error)}`, { path: path === '' ? part : path })
}

/** The offending member: `filters.0.op`; for a missing or an unknown one, that one. */
function memberPath({ instancePath, params }: ErrorObject): string {
  const names = instancePath.split('/').slice(1)
  const extra: unknown = params['missingProperty'] ?? params['additionalProperty']
  if (typeof extra === 'string') names.push(extra)
  const path = names.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~')).join('.')
  return path.length > 200 ? `${path.slice(0, 200)}...` : path
}

function ruleOf({ keyword, message, params }: ErrorObject): string {
  const allowed: unknown = params['allowedValues']
  if (keyword === 'required') return 'is missing'
  if (keyword === 'additionalProperties') return 'is not a known field'
  if (keyword === 'enum' && Array.isArray(allowed)) return `must be one of ${allowed.join(', ')}`
  return message ?? 'does not satisfy its schema'
}
