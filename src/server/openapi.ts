/** Builds the OpenAPI 3.1 description from the very schemas that requests are checked against. */
import { STATUS_CODES } from 'node:http'
import type { RouteOptions } from 'fastify'
import type { TSchema } from 'typebox'
import type { App, RouteDescription } from './app-types.js'
import { Failure, NAMED_SCHEMAS } from './schemas.js'

interface DescribedRoute {
  readonly method: string
  readonly url: string
  readonly description: RouteDescription
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
}

/** Collects every route that is added to `app` from now on; the returned function describes them. */
export function collectRoutes(app: App): () => string {
  const routes: DescribedRoute[] = []
  app.addHook('onRoute', (route) => {
    routes.push(...describedRoutes(route))
  })
  let text: string | undefined
  return () => (text ??= JSON.stringify(documentOf(routes)))
}

function describedRoutes({ method, url, schema, config }: RouteOptions): DescribedRoute[] {
  const description = config?.description
  if (description === undefined) return []
  const { params, querystring: query, body } = schema ?? {}
  return [method].flat().map((name) => ({ method: name, url, description, params, query, body }))
}

function documentOf(routes: readonly DescribedRoute[]): unknown {
  const paths = new Map<string, Record<string, unknown>>()
  for (const route of routes) {
    const path = route.url.replaceAll(/:(\w+)/g, '{$1}')
    paths.set(path, { ...paths.get(path), [route.method.toLowerCase()]: operationOf(route) })
  }
  const schemas = Object.entries(NAMED_SCHEMAS).map(([name, schema]): [string, unknown] => [
    name,
    membersReferred(schema),
  ])
  return {
    openapi: '3.1.0',
    info: { title: 'nimbus', version: '1', description: 'Encrypted document storage. Times are RFC 3339 in UTC.' },
    security: [{ token: [] }],
    paths: Object.fromEntries(paths),
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: Object.fromEntries(schemas),
    },
  }
}

function operationOf({ description, params, query, body }: DescribedRoute): unknown {
  const parameters = [...parametersOf('path', params), ...parametersOf('query', query)]
  const answers = Object.entries(description.answers).map(([status, content]): [string, unknown] => [
    status,
    answerOf(status, content),
  ])
  return {
    summary: description.summary,
    ...(description.open === true && { security: [] }),
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && { requestBody: { required: true, ...jsonOf(body) } }),
    responses: {
      ...Object.fromEntries(answers),
      default: { description: 'A failure, with the status of its code.', ...jsonOf(Failure) },
    },
  }
}

function answerOf(status: string, content: TSchema | string | null): unknown {
  const description = STATUS_CODES[status] ?? status
  if (content === null) return { description }
  if (typeof content === 'string') return { description, content: { [content]: {} } }
  return { description, ...jsonOf(content) }
}

function jsonOf(schema: unknown): { content: unknown } {
  return { content: { 'application/json': { schema: referred(schema) } } }
}

function parametersOf(place: 'path' | 'query', schema: unknown): unknown[] {
  if (!isObject(schema) || !isObject(schema['properties'])) return []
  const required = Array.isArray(schema['required']) ? schema['required'] : []
  return Object.entries(schema['properties']).map(([name, member]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: referred(member),
  }))
}

/** TypeBox copies schemas as it composes them, so a named one is known by its text. */
const NAMES = new Map(Object.entries(NAMED_SCHEMAS).map(([name, schema]) => [JSON.stringify(schema), name]))

function referred(schema: unknown): unknown {
  const name = isObject(schema) ? NAMES.get(JSON.stringify(schema)) : undefined
  return name === undefined ? membersReferred(schema) : { $ref: `#/components/schemas/${name}` }
}

function membersReferred(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(referred)
  if (!isObject(schema)) return schema
  return Object.fromEntries(Object.entries(schema).map(([key, member]) => [key, referred(member)]))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
