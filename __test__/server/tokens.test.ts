import { describe, expect, it, vi } from 'vitest'
import { startTestApp, type TestApp } from '../support/http.js'

interface Made {
  readonly token: string
  readonly id: string
}

async function made(app: TestApp, scope: object): Promise<Made> {
  const answer = await app.request('POST', '/api/tokens', {
    name: 'a test',
    tenants: ['demo'],
    access: 'read',
    ...scope,
  })
  expect(answer.status).toBe(201)
  return answer.body
}

const codeOf = (body: { error?: { code?: string } }): string | undefined => body.error?.code

interface Route {
  readonly method: string
  readonly path: string
  readonly access: 'read' | 'write' | 'admin' | 'any' | 'open'
  readonly body?: object
}

const DOCUMENT = '/api/tenants/{tenant}/documents/{table}/{id}'
const SCHEMA = '/api/tenants/{tenant}/schema/{table}'

/** What each route asks of a token: written by hand, and compared with the routes that there are. */
const ROUTES: readonly Route[] = [
  { method: 'get', path: '/health', access: 'open' },
  { method: 'get', path: '/metrics', access: 'admin' },
  { method: 'get', path: '/openapi.json', access: 'any' },
  { method: 'get', path: '/debug/encryption/status', access: 'admin' },
  { method: 'get', path: '/debug/encryption/events', access: 'admin' },
  { method: 'post', path: '/debug/encryption/verify', access: 'admin' },
  { method: 'get', path: '/debug/encryption/verify', access: 'admin' },
  { method: 'post', path: '/api/tenants', access: 'admin', body: { id: 'other' } },
  { method: 'get', path: '/api/tenants', access: 'admin' },
  { method: 'delete', path: '/api/tenants/{tenant}', access: 'admin' },
  { method: 'post', path: '/api/tokens', access: 'admin', body: { name: 'x', tenants: ['*'], access: 'write' } },
  { method: 'get', path: '/api/tokens', access: 'admin' },
  { method: 'delete', path: '/api/tokens/{id}', access: 'admin' },
  { method: 'post', path: '/api/tenants/{tenant}/documents', access: 'write', body: { table: 't', fields: {} } },
  { method: 'get', path: '/api/tenants/{tenant}/documents/{table}', access: 'read' },
  { method: 'get', path: DOCUMENT, access: 'read' },
  { method: 'patch', path: DOCUMENT, access: 'write', body: { fields: {} } },
  { method: 'delete', path: DOCUMENT, access: 'write' },
  { method: 'post', path: '/api/tenants/{tenant}/query', access: 'read', body: { table: 't' } },
  { method: 'post', path: '/api/tenants/{tenant}/query/paginated', access: 'read', body: { table: 't' } },
  { method: 'put', path: SCHEMA, access: 'write', body: { fields: {} } },
  { method: 'get', path: SCHEMA, access: 'read' },
  { method: 'delete', path: SCHEMA, access: 'write' },
  {
    method: 'post',
    path: '/api/tenants/{tenant}/transaction',
    access: 'write',
    body: { operations: [{ op: 'insert', table: 't', fields: {} }] },
  },
]

/** Which of these tokens, all but the last for the tenant of the path, a route lets through. */
const PERMITS = {
  open: { read: true, write: true, elsewhere: true },
  any: { read: true, write: true, elsewhere: true },
  read: { read: true, write: true, elsewhere: false },
  write: { read: false, write: true, elsewhere: false },
  admin: { read: false, write: false, elsewhere: false },
} as const

describe('every route', () => {
  it('is let through or refused by what a token is for, before anything is done', async () => {
    const app = await startTestApp()
    await app.request('POST', '/api/tenants', { id: 'demo' })
    const description = await app.request('GET', '/openapi.json')
    const paths = Object.entries(description.body.paths)
    const there = paths.flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`))
    expect(ROUTES.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(there.sort())

    const tokens = {
      read: await made(app, { access: 'read' }),
      write: await made(app, { access: 'write' }),
      elsewhere: await made(app, { access: 'write', tenants: ['elsewhere'] }),
    }
    for (const { method, path, access, body } of ROUTES) {
      const where = path.replace('{tenant}', 'demo').replace('{table}', 't').replace('{id}', 'nothing')
      for (const kind of ['read', 'write', 'elsewhere'] as const) {
        const headers = { authorization: `Bearer ${tokens[kind].token}` }
        const answer = await app.request(method.toUpperCase(), where, body, headers)
        const isRefused = answer.status === 403 && codeOf(answer.body) === 'forbidden'
        expect(isRefused, `${kind}: ${method} ${path}: ${answer.text}`).toBe(!PERMITS[access][kind])
        if (!isRefused) expect(answer.status, `${kind}: ${method} ${path}`).not.toBe(401)
      }
    }
    expect((await app.request('GET', '/api/tenants')).body.data).toMatchObject([{ id: 'demo' }])
    expect((await app.request('GET', '/api/tokens')).body.data).toHaveLength(3)
  })
})

describe('an API token', () => {
  const read = (app: TestApp, token: string, tenant = 'demo') =>
    app.request('GET', `/api/tenants/${tenant}/documents/t`, undefined, { authorization: `Bearer ${token}` })

  async function withTenants(): Promise<TestApp> {
    const app = await startTestApp()
    for (const id of ['demo', 'other']) await app.request('POST', '/api/tenants', { id })
    return app
  }

  it('is shown once, listed by its first 12 characters, and never logged', async () => {
    const app = await withTenants()
    const { token, ...record } = await made(app, { name: 'reporting', expires_at: '2999-01-01T00:00:00Z' })
    expect(token).toMatch(/^nbt_[A-Za-z0-9_-]{43}$/)
    expect(record).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{16}$/),
      prefix: token.slice(0, 12),
      name: 'reporting',
      tenants: ['demo'],
      access: 'read',
      created_at: expect.any(String),
      expires_at: '2999-01-01T00:00:00.000Z',
      revoked_at: null,
    })
    expect((await read(app, token)).status).toBe(200)
    const list = await app.request('GET', '/api/tokens')
    expect(list.body).toEqual({ data: [record], next_cursor: null, has_more: false })
    expect(app.logged()).not.toContain(token)
    expect(app.logged()).not.toContain(token.slice(12))
  })

  it('is good for its tenants alone, or for every one', async () => {
    const app = await withTenants()
    const one = await made(app, { tenants: ['other', 'other'] })
    const every = await made(app, { tenants: ['*'] })
    expect((await read(app, one.token)).status).toBe(403)
    expect((await read(app, one.token, 'other')).status).toBe(200)
    for (const tenant of ['demo', 'other']) expect((await read(app, every.token, tenant)).status).toBe(200)
    // Whoever may read every tenant may know which there are not.
    expect((await read(app, every.token, 'absent')).status).toBe(404)
    expect((await read(app, one.token, 'absent')).status).toBe(403)
  })

  it('is refused from the moment of its revocation, and stays listed', async () => {
    const app = await withTenants()
    const { token, id } = await made(app, {})
    expect((await read(app, token)).status).toBe(200)
    expect((await app.request('DELETE', `/api/tokens/${id}`)).status).toBe(204)
    expect(await read(app, token)).toMatchObject({ status: 401, body: { error: { code: 'unauthorized' } } })
    expect((await app.request('DELETE', `/api/tokens/${id}`)).status).toBe(204)
    expect((await app.request('GET', '/api/tokens')).body.data).toMatchObject([{ id, revoked_at: expect.any(String) }])
    const unknown = await app.request('DELETE', '/api/tokens/0000000000000000')
    expect(unknown).toMatchObject({ status: 404, body: { error: { code: 'token_not_found' } } })
    const events = await app.request('GET', '/debug/encryption/events?limit=2')
    expect(events.body.data).toMatchObject([
      { event: 'token_revoked', subject: `token:${id}` },
      { event: 'token_created', subject: `token:${id}` },
    ])
  })

  it('is refused from the moment at which it expires', async () => {
    const app = await withTenants()
    const expiresAt = new Date(Date.now() + 3_600_000)
    const { token } = await made(app, { expires_at: expiresAt.toISOString() })
    vi.useFakeTimers({ toFake: ['Date'], now: expiresAt.getTime() - 1 })
    try {
      expect((await read(app, token)).status).toBe(200)
      vi.setSystemTime(expiresAt)
      expect(await read(app, token)).toMatchObject({ status: 401, body: { error: { code: 'unauthorized' } } })
    } finally {
      vi.useRealTimers()
    }
  })

  it('is another than one with a character changed, left out or added', async () => {
    const app = await withTenants()
    const { token } = await made(app, {})
    const changed = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A')
    for (const wrong of [changed, token.slice(0, -1), `${token}A`, token.slice(0, 12), token.toUpperCase(), 'nbt_']) {
      expect((await read(app, wrong)).status, wrong).toBe(401)
    }
  })

  it.each([
    [{ name: '' }, 'invalid_request'],
    [{ name: 'x'.repeat(101) }, 'invalid_request'],
    [{ name: 'two\nlines' }, 'invalid_request'],
    [{ tenants: [] }, 'invalid_request'],
    [{ tenants: ['*', 'demo'] }, 'invalid_tenant_id'],
    [{ tenants: ['../demo'] }, 'invalid_tenant_id'],
    [{ access: 'admin' }, 'invalid_request'],
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'invalid_request'],
    [{ expires_at: 'tomorrow' }, 'invalid_request'],
    [{ expires_at: '2999-02-31' }, 'invalid_request'],
    [{ scope: 'everything' }, 'invalid_request'],
  ])('is not made with %j', async (wanted, code) => {
    const app = await withTenants()
    const body = { name: 'x', tenants: ['demo'], access: 'read', ...wanted }
    const answer = await app.request('POST', '/api/tokens', body)
    expect([answer.status, codeOf(answer.body)]).toEqual([expect.any(Number), code])
    expect((await app.request('GET', '/api/tokens')).body.data).toEqual([])
  })

  it('is found on exactly one of the pages of the list', async () => {
    const app = await withTenants()
    const ids: string[] = []
    for (let n = 0; n < 5; n++) ids.push((await made(app, { name: String(n) })).id)
    const found: string[] = []
    for (let after: string | null = ''; after !== null;) {
      const page = await app.request('GET', `/api/tokens?limit=2${after === '' ? '' : `&after=${after}`}`)
      found.push(...page.body.data.map(({ id }: { id: string }) => id))
      after = page.body.next_cursor
      expect(page.body.has_more).toBe(after !== null)
    }
    expect(found.length).toBe(5)
    expect(found.sort()).toEqual(ids.sort())
    expect((await app.request('GET', '/api/tokens?after=x')).body.error.code).toBe('invalid_cursor')
  })
})
