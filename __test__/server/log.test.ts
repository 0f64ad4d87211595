import { describe, expect, it } from 'vitest'
import { NimbusError } from '../../src/errors.js'
import { describeForLog } from '../../src/server/log.js'
import { TOKEN, startTestApp } from '../support/http.js'

describe('the log', () => {
  it('has one line for each request: id, method, route pattern, status, time', async () => {
    const app = await startTestApp()
    const { headers } = await app.request('GET', '/api/tenants')
    await expect.poll(app.logged).toContain('"route"')
    const { time, ms, ...line } = JSON.parse(app.logged()) as Record<string, unknown>
    expect(time).toMatch(/^\d{4}-.*Z$/)
    expect(ms).toBeTypeOf('number')
    expect(line).toEqual({
      level: 30,
      pid: process.pid,
      request_id: headers.get('x-request-id'),
      method: 'GET',
      route: '/api/tenants',
      status: 200,
      msg: 'request',
    })
  })

  it('is silent about probes that went well', async () => {
    const app = await startTestApp()
    await app.request('GET', '/health')
    await app.request('GET', '/metrics')
    await app.request('GET', '/api/tenants')
    await expect.poll(app.logged).toContain('/api/tenants')
    expect(app.logged()).not.toContain('/health')
    expect(app.logged()).not.toContain('/metrics')
  })

  it('never carries a document, an id, a query string or a token, whatever happens', async () => {
    const app = await startTestApp()
    await app.request('POST', '/api/tenants', { id: 'marker-tenant' })
    const path = '/api/tenants/marker-tenant/documents'
    await app.request('POST', path, { table: 'marker', fields: { marker: 'marker' } })
    await app.request('POST', path, '{"table":"marker", marker')
    await app.request('POST', path, { table: 7, marker: 'marker' })
    await app.request('GET', `${path}/marker?after=marker`)
    await app.request('GET', `${path}/marker?marker=1`)
    await app.request('GET', `/marker?${TOKEN}`)
    await app.request('GET', '/%zz/marker')
    await app.request('GET', '/api/tenants', undefined, { authorization: 'Bearer marker' })
    app.tenants.gate = () => Promise.reject(new Error('marker'))
    expect((await app.request('POST', path, { table: 't', fields: {} })).status).toBe(500)
    await expect.poll(() => app.logged().split('\n').length - 1).toBe(10)
    expect(app.logged()).not.toContain('marker')
    expect(app.logged()).not.toContain(TOKEN)
  })

  it('tells of an unexpected failure where it happened, and the client only that it did', async () => {
    const app = await startTestApp()
    await app.request('POST', '/api/tenants', { id: 'demo' })
    app.tenants.gate = () => Promise.reject(new TypeError('of a private nature'))
    const answer = await app.request('POST', '/api/tenants/demo/documents', { table: 't', fields: {} })
    expect(answer.body.error.code).toBe('internal')
    expect(answer.text).not.toContain('private')
    await expect.poll(app.logged).toContain('"internal"')
    expect(app.logged()).toContain('TypeError; at ')
    expect(app.logged()).not.toContain('private')
  })

  it('keeps what our own errors say, and of foreign ones only kind and place', () => {
    const cause = new SyntaxError('Unexpected token s in JSON: secret')
    const logged = describeForLog(
      new NimbusError('file_corrupt', 'x.sqlite3 is damaged', { path: '/d/x.sqlite3', cause }),
    )
    expect(logged).toMatchObject({ code: 'file_corrupt', message: 'x.sqlite3 is damaged', path: '/d/x.sqlite3' })
    expect(logged.cause).toMatch(/^SyntaxError; at /)
    expect(JSON.stringify(logged)).not.toContain('secret')
  })
})
