import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { BODY_LIMIT_BYTES } from '../../src/server/json-body.js'
import { TOKEN, startTestApp, type Answer, type TestApp } from '../support/http.js'

async function appWithTenant(): Promise<TestApp> {
  const app = await startTestApp()
  await app.request('POST', '/api/tenants', { id: 'demo' })
  return app
}

function expectFailure(answer: Answer, status: number, code: string): void {
  const { error } = answer.body
  expect(Object.keys(error).filter((name) => name !== 'path')).toEqual([
    'code',
    'message',
    'request_id',
    'retryable',
    'remediation',
  ])
  expect(error.code).toBe(code)
  expect(error.request_id).toBe(answer.headers.get('x-request-id'))
  expect(error.message).not.toBe('')
  expect(error.remediation).not.toBe('')
  expect(answer.status).toBe(status)
}

describe('authorization', () => {
  const routes: [string, string][] = [
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
    ['GET', '/debug/encryption/status'],
    ['GET', '/api/tenants'],
    ['POST', '/api/tenants'],
    ['DELETE', '/api/tenants/demo'],
    ['POST', '/api/tenants/demo/documents'],
    ['GET', '/api/tenants/demo/documents/t'],
    ['GET', '/api/tenants/demo/documents/t/1'],
    ['POST', '/api/tenants/demo/query'],
    ['PUT', '/api/tenants/demo/schema/t'],
    ['POST', '/api/tenants/demo/transaction'],
    ['GET', '/no/such/route'],
    ['GET', '/%zz'],
    ['OPTIONS', '/api/tenants'],
  ]

  it.each(routes)('is demanded for %s %s', async (method, path) => {
    const app = await startTestApp()
    for (const authorization of ['', 'Bearer wrong', `Basic ${TOKEN}`, 'Bearer', `Bearer ${TOKEN}x`, TOKEN]) {
      const answer = await app.request(method, path, undefined, { authorization })
      expectFailure(answer, 401, 'unauthorized')
      expect(answer.headers.get('www-authenticate')).toContain('Bearer')
    }
  })

  it('comes before a body is read', async () => {
    const app = await startTestApp()
    const answer = await app.request('POST', '/api/tenants', 'not json', { authorization: '' })
    expectFailure(answer, 401, 'unauthorized')
  })

  it('is not demanded for /health', async () => {
    const app = await startTestApp()
    const answer = await app.request('GET', '/health', undefined, { authorization: '' })
    expect(answer.status).toBe(200)
    expect(answer.text).toBe('{"ok":true}')
  })

  it.each(['bearer', 'BEARER', 'BeArEr'])('accepts the scheme as %s', async (scheme) => {
    const app = await startTestApp()
    const answer = await app.request('GET', '/api/tenants', undefined, { authorization: `${scheme} ${TOKEN}` })
    expect(answer.status).toBe(200)
  })
})

describe('a request that is refused', () => {
  const notJson = { 'content-type': 'text/plain' }

  it.each<[string, string, string, unknown, number, string]>([
    ['an unknown route', 'GET', '/api/nothing', undefined, 404, 'not_found'],
    ['an unknown method', 'PUT', '/api/tenants', { id: 'x' }, 404, 'not_found'],
    ['a malformed path', 'GET', '/api/tenants/%zz/documents/t', undefined, 400, 'invalid_request'],
    ['an endless path', 'GET', `/api/tenants/${'a'.repeat(3000)}/documents/t`, undefined, 400, 'invalid_request'],
    ['malformed JSON', 'POST', '/api/tenants', '{"id":', 400, 'invalid_request'],
    ['an empty body', 'POST', '/api/tenants', '', 400, 'invalid_request'],
    ['bytes that are not UTF-8', 'POST', '/api/tenants', new Uint8Array([0x22, 0xff, 0x22]), 400, 'invalid_request'],
    ['an array', 'POST', '/api/tenants', [], 400, 'invalid_request'],
    ['null', 'POST', '/api/tenants', 'null', 400, 'invalid_request'],
    ['an unknown field', 'POST', '/api/tenants', { id: 'a', colour: 'red' }, 400, 'invalid_request'],
    ['a missing field', 'POST', '/api/tenants', {}, 400, 'invalid_request'],
    ['a wrong type', 'POST', '/api/tenants', { id: 7 }, 400, 'invalid_request'],
    ['__proto__', 'POST', '/api/tenants', '{"id":"a","__proto__":{}}', 400, 'invalid_request'],
    [
      'constructor.prototype',
      'POST',
      '/api/tenants',
      '{"id":"a","constructor":{"prototype":{}}}',
      400,
      'invalid_request',
    ],
    ['nesting without end', 'POST', '/api/tenants', '['.repeat(1_000_000), 400, 'invalid_request'],
    ['objects without end', 'POST', '/api/tenants', '{"a":'.repeat(100_000), 400, 'invalid_request'],
    ['a tenant id that is a path', 'POST', '/api/tenants', { id: '../etc' }, 400, 'invalid_tenant_id'],
    [
      'a tenant id that is a path in the URL',
      'GET',
      '/api/tenants/..%2fetc/documents/t',
      undefined,
      400,
      'invalid_tenant_id',
    ],
    ['an unknown tenant', 'GET', '/api/tenants/nobody/documents/t', undefined, 404, 'tenant_not_found'],
    ['an existing tenant', 'POST', '/api/tenants', { id: 'demo' }, 409, 'tenant_exists'],
    ['an unknown document', 'GET', '/api/tenants/demo/documents/t/1', undefined, 404, 'document_not_found'],
    ['an unknown query parameter', 'GET', '/api/tenants?colour=red', undefined, 400, 'invalid_request'],
    ['a limit that is no number', 'GET', '/api/tenants?limit=ten', undefined, 400, 'invalid_request'],
    ['a limit in hex', 'GET', '/api/tenants?limit=0x10', undefined, 400, 'invalid_request'],
    ['a limit of 0', 'GET', '/api/tenants?limit=0', undefined, 400, 'invalid_request'],
    ['a limit beyond 1,000', 'GET', '/api/tenants?limit=1001', undefined, 400, 'invalid_request'],
    ['two limits', 'GET', '/api/tenants?limit=1&limit=2', undefined, 400, 'invalid_request'],
    ['a query where none belongs', 'GET', '/api/tenants/demo/documents/t/1?x=1', undefined, 400, 'invalid_request'],
    [
      'fields that are a list',
      'POST',
      '/api/tenants/demo/documents',
      { table: 't', fields: [] },
      400,
      'invalid_request',
    ],
    ['fields that are missing', 'POST', '/api/tenants/demo/documents', { table: 't' }, 400, 'invalid_request'],
    [
      'a version in words',
      'PATCH',
      '/api/tenants/demo/documents/t/1',
      { fields: {}, if_version: '1' },
      400,
      'invalid_request',
    ],
    [
      'an unknown operator',
      'POST',
      '/api/tenants/demo/query',
      { table: 't', filters: [{ field: 'a', op: 'like', value: 'x' }] },
      400,
      'invalid_request',
    ],
    [
      'an object to compare with',
      'POST',
      '/api/tenants/demo/query',
      { table: 't', filters: [{ field: 'a', op: 'eq', value: {} }] },
      400,
      'invalid_request',
    ],
    [
      'an unknown direction',
      'POST',
      '/api/tenants/demo/query',
      { table: 't', order: { field: 'a', direction: 'up' } },
      400,
      'invalid_request',
    ],
    [
      'page_size where limit belongs',
      'POST',
      '/api/tenants/demo/query',
      { table: 't', page_size: 1 },
      400,
      'invalid_request',
    ],
    [
      'an unknown type of field',
      'PUT',
      '/api/tenants/demo/schema/t',
      { fields: { a: { type: 'date' } } },
      400,
      'invalid_request',
    ],
    ['an empty transaction', 'POST', '/api/tenants/demo/transaction', { operations: [] }, 400, 'invalid_request'],
    [
      'an insert with an id',
      'POST',
      '/api/tenants/demo/transaction',
      { operations: [{ op: 'insert', table: 't', id: '1', fields: {} }] },
      400,
      'invalid_request',
    ],
    [
      'an insert without fields',
      'POST',
      '/api/tenants/demo/transaction',
      { operations: [{ op: 'insert', table: 't' }] },
      400,
      'invalid_request',
    ],
    [
      'an update without an id',
      'POST',
      '/api/tenants/demo/transaction',
      { operations: [{ op: 'update', table: 't', fields: {} }] },
      400,
      'invalid_request',
    ],
    [
      'a delete with fields',
      'POST',
      '/api/tenants/demo/transaction',
      { operations: [{ op: 'delete', table: 't', id: '1', fields: {} }] },
      400,
      'invalid_request',
    ],
  ])('for %s says so with a code', async (_what, method, path, body, status, code) => {
    const app = await appWithTenant()
    expectFailure(await app.request(method, path, body), status, code)
  })

  it('for another content type says so with a code', async () => {
    const app = await startTestApp()
    expectFailure(await app.request('POST', '/api/tenants', '{"id":"a"}', notJson), 400, 'invalid_request')
    expectFailure(
      await app.request('POST', '/api/tenants', '{"id":"a"}', { 'content-type': ';;' }),
      400,
      'invalid_request',
    )
  })

  it('names the offending field', async () => {
    const app = await appWithTenant()
    const filters = [{ field: 'a', op: 'like', value: 'x' }]
    const { body } = await app.request('POST', '/api/tenants/demo/query', { table: 't', filters })
    expect(body.error.path).toBe('filters.0.op')
    expect(body.error.message).toBe('body.filters.0.op must be one of eq, neq, gt, gte, lt, lte')
  })

  it('for 100,000 unknown fields is answered without delay', async () => {
    const app = await startTestApp()
    const body = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`k${index}`, 0]))
    const startedAt = performance.now()
    const answer = await app.request('POST', '/api/tenants', JSON.stringify(body).slice(0, -1) + ',"id":"a"}')
    expectFailure(answer, answer.status, answer.status === 413 ? 'body_too_large' : 'invalid_request')
    expect(performance.now() - startedAt).toBeLessThan(2000)
  })
})

describe('a body that is too large', () => {
  it('is refused when it announces itself', async () => {
    const app = await startTestApp()
    expectFailure(await app.request('POST', '/api/tenants', 'x'.repeat(10 * 1024 * 1024)), 413, 'body_too_large')
  })

  it('is accepted up to the last byte', async () => {
    const app = await appWithTenant()
    const frame = '{"table":"t","fields":{"text":""}}'
    const fits = frame.replace('""', `"${'x'.repeat(BODY_LIMIT_BYTES - frame.length)}"`)
    expect((await app.request('POST', '/api/tenants/demo/documents', fits)).status).toBe(201)
    expectFailure(await app.request('POST', '/api/tenants/demo/documents', `${fits} `), 413, 'body_too_large')
  })

  it('is refused when it comes in chunks of unknown number', async () => {
    const app = await startTestApp()
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
      const request = httpRequest(`${app.origin}/api/tenants`, { method: 'POST', headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
        request.destroy()
      })
      // The server stops reading once it has answered.
      request.on('error', (error) => {
        if (!request.destroyed) reject(error)
      })
      const chunk = Buffer.alloc(64 * 1024, 'x')
      const write = (): void => {
        while (!request.destroyed && request.write(chunk));
        if (!request.destroyed) request.once('drain', write)
      }
      write()
    })
    expect(status).toBe(413)
  })
})

describe('answers', () => {
  it('carry an id of the request that no client can choose', async () => {
    const app = await startTestApp()
    const chosen = { 'x-request-id': 'mine' }
    const ids = [
      (await app.request('GET', '/health', undefined, chosen)).headers.get('x-request-id'),
      (await app.request('GET', '/health', undefined, chosen)).headers.get('x-request-id'),
    ]
    expect(ids[0]).toMatch(/^[0-9a-f]{12}-[0-9a-z]+$/)
    expect(ids[1]).not.toBe(ids[0])
  })

  it('are never stored by a cache', async () => {
    const app = await startTestApp()
    expect((await app.request('GET', '/api/tenants')).headers.get('cache-control')).toBe('no-store')
  })

  it('carry fields exactly as they are stored', async () => {
    const app = await appWithTenant()
    const fields = { text: 'a "quote" \\ \u2028 \u0001 é 😀', n: [1, 1e300, -0.5], o: { '': null } }
    const { body } = await app.request('POST', '/api/tenants/demo/documents', { table: 't', fields })
    expect(body.fields).toEqual(fields)
    const read = await app.request('GET', `/api/tenants/demo/documents/t/${body.id}`)
    expect(read.body).toEqual(body)
    expect(Number(read.headers.get('content-length'))).toBe(Buffer.byteLength(read.text))
  })

  it('are given to deep documents, and to brackets that are only text', async () => {
    const app = await appWithTenant()
    const deep = '['.repeat(60) + ']'.repeat(60)
    const text = JSON.stringify(`${'[{'.repeat(500)} \\" ${'[{'.repeat(500)}`)
    const body = `{"table":"t","fields":{"deep":${deep},"text":${text}}}`
    const answer = await app.request('POST', '/api/tenants/demo/documents', body)
    expect(answer.status).toBe(201)
    expect(answer.text).toContain(deep)
    expect(answer.text).toContain(text)
  })

  it('to DELETE have no body, though the client sends a content type', async () => {
    const app = await appWithTenant()
    const answer = await app.request('DELETE', '/api/tenants/demo', undefined, { 'content-type': 'application/json' })
    expect(answer.status).toBe(204)
    expect(answer.text).toBe('')
  })
})

describe('what is not HTTP', () => {
  async function rawAnswer(app: TestApp, text: string): Promise<string> {
    const { port } = new URL(app.origin)
    return new Promise((resolve, reject) => {
      let received = ''
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(text))
      socket.on('data', (chunk) => (received += String(chunk)))
      socket.on('error', reject)
      socket.on('close', () => {
        resolve(received)
      })
    })
  }

  it('is answered with an error object', async () => {
    const app = await startTestApp()
    const answer = await rawAnswer(app, 'NONSENSE\r\n\r\n')
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('"code":"invalid_request"')
  })

  it('has a head of bounded size', async () => {
    const app = await startTestApp()
    const answer = await rawAnswer(app, `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(32 * 1024)}\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 431 /)
    expect(answer).toContain('"code":"invalid_request"')
  })
})
