import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { startTestApp, type Answer, type TestApp } from '../support/http.js'

interface Operation {
  readonly responses: Readonly<Record<string, { content?: Record<string, { schema?: object }> }>>
  readonly security?: unknown[]
  readonly requestBody?: { content: Record<string, { schema: object }> }
}
interface Description {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: object
}

async function descriptionOf(app: TestApp): Promise<Description> {
  const { text } = await app.request('GET', '/openapi.json')
  return JSON.parse(text) as Description
}

function validatorOf(description: Description) {
  const ajv = new Ajv2020({ strict: false })
  ajv.addSchema(description, 'api')
  return (schema: object, value: unknown) => {
    const local = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/')) as object
    expect(ajv.validate(local, value), ajv.errorsText()).toBe(true)
  }
}

describe('/openapi.json', () => {
  it('describes exactly the routes of the server', async () => {
    const { openapi, paths } = await descriptionOf(await startTestApp())
    expect(openapi).toBe('3.1.0')
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((name) => `${name} ${path}`),
    )
    expect(routes.sort()).toEqual([
      'delete /api/tenants/{tenant}',
      'delete /api/tenants/{tenant}/documents/{table}/{id}',
      'delete /api/tenants/{tenant}/schema/{table}',
      'delete /api/tokens/{id}',
      'get /api/tenants',
      'get /api/tenants/{tenant}/documents/{table}',
      'get /api/tenants/{tenant}/documents/{table}/{id}',
      'get /api/tenants/{tenant}/schema/{table}',
      'get /api/tokens',
      'get /debug/encryption/events',
      'get /debug/encryption/status',
      'get /debug/encryption/verify',
      'get /health',
      'get /metrics',
      'get /openapi.json',
      'patch /api/tenants/{tenant}/documents/{table}/{id}',
      'post /api/tenants',
      'post /api/tenants/{tenant}/documents',
      'post /api/tenants/{tenant}/query',
      'post /api/tenants/{tenant}/query/paginated',
      'post /api/tenants/{tenant}/transaction',
      'post /api/tokens',
      'post /debug/encryption/verify',
      'put /api/tenants/{tenant}/schema/{table}',
    ])
  })

  it('resolves every reference', async () => {
    const description = await descriptionOf(await startTestApp())
    const references = [...JSON.stringify(description).matchAll(/"\$ref":"#([^"]+)"/g)].map((hit) => hit[1] ?? '')
    expect(references.length).toBeGreaterThan(20)
    for (const reference of references) {
      let target: unknown = description
      for (const name of reference.split('/').slice(1)) target = (target as Record<string, unknown>)[name]
      expect(target, reference).toBeTypeOf('object')
    }
  })

  it('says that only /health is open', async () => {
    const { paths } = await descriptionOf(await startTestApp())
    const open = Object.entries(paths).filter(([, methods]) =>
      Object.values(methods).some(({ security }) => security?.length === 0),
    )
    expect(open.map(([path]) => path)).toEqual(['/health'])
  })

  it('is satisfied by what the server answers', async () => {
    const app = await startTestApp()
    const description = await descriptionOf(app)
    const validate = validatorOf(description)
    const checked = async (method: string, path: string, pattern: string, body?: unknown): Promise<Answer> => {
      const operation = description.paths[pattern]?.[method.toLowerCase()]
      const request = operation?.requestBody?.content['application/json']?.schema
      if (request !== undefined) validate(request, body)
      const answer = await app.request(method, path, body)
      const response = operation?.responses[String(answer.status)]
      expect(response, `${method} ${pattern} ${answer.status}`).toBeDefined()
      const schema = response?.content?.['application/json']?.schema
      if (schema !== undefined) validate(schema, answer.body)
      return answer
    }
    const tenant = '/api/tenants/{tenant}'
    await checked('GET', '/health', '/health')
    await checked('POST', '/api/tenants', '/api/tenants', { id: 'demo' })
    await checked('GET', '/api/tenants?limit=10', '/api/tenants')
    const insert = { table: 't', fields: { a: 1 } }
    const { body } = await checked('POST', '/api/tenants/demo/documents', `${tenant}/documents`, insert)
    const one = `/api/tenants/demo/documents/t/${body.id}`
    await checked('GET', one, `${tenant}/documents/{table}/{id}`)
    await checked('PATCH', one, `${tenant}/documents/{table}/{id}`, { fields: { a: 2 }, if_version: 1 })
    await checked('GET', '/api/tenants/demo/documents/t', `${tenant}/documents/{table}`)
    const query = { table: 't', filters: [{ field: 'a', op: 'eq', value: 2 }], order: { field: 'a', direction: 'asc' } }
    await checked('POST', '/api/tenants/demo/query', `${tenant}/query`, { ...query, limit: 5 })
    await checked('POST', '/api/tenants/demo/query/paginated', `${tenant}/query/paginated`, { ...query, page_size: 5 })
    const schema = {
      fields: { a: { type: 'number', required: true } },
      indexes: [{ name: 'i', fields: ['a'], unique: false }],
    }
    await checked('PUT', '/api/tenants/demo/schema/t', `${tenant}/schema/{table}`, schema)
    await checked('GET', '/api/tenants/demo/schema/t', `${tenant}/schema/{table}`)
    await checked('DELETE', '/api/tenants/demo/schema/t', `${tenant}/schema/{table}`)
    const operations = [
      { op: 'insert', table: 't', fields: {} },
      { op: 'update', table: 't', id: body.id, fields: {} },
      { op: 'delete', table: 't', id: body.id },
    ]
    await checked('POST', '/api/tenants/demo/transaction', `${tenant}/transaction`, { operations })
    await checked('GET', '/debug/encryption/status', '/debug/encryption/status')
    await checked('GET', '/debug/encryption/verify', '/debug/encryption/verify')
    await checked('DELETE', '/api/tenants/demo', tenant)
    const failure = await app.request('GET', '/nothing')
    validate({ $ref: '#/components/schemas/Failure' }, failure.body)
  })
})
