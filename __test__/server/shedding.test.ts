import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../src/server/admission.js'
import { TOKEN, startTestApp } from '../support/http.js'

const roomy = DEFAULT_LIMITS
const insert = { table: 't', fields: { text: 'x'.repeat(1000) } }

/** A gate that holds every write until it is opened. */
function gate(): { closed: Promise<void>; open: () => void } {
  let open = (): void => undefined
  const closed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { closed, open }
}

describe('under overload', () => {
  it.each([
    ['requests', { ...roomy, requests: 3 }],
    ['bytes of bodies', { ...roomy, bodyBytes: 3500 }],
  ])('the server refuses what exceeds its limit of %s, and recovers', async (_what, limits) => {
    const app = await startTestApp(limits)
    await app.request('POST', '/api/tenants', { id: 'demo' })
    const held = gate()
    app.tenants.gate = () => held.closed

    const answers = Array.from({ length: 6 }, () => app.request('POST', '/api/tenants/demo/documents', insert))
    const refused = await Promise.race(answers)
    expect(refused.status).toBe(503)
    expect(refused.body.error.code).toBe('overloaded')
    expect(refused.headers.get('retry-after')).toBe('1')

    await expect.poll(async () => (await app.request('GET', '/metrics')).text).toContain('_shed_total 3\n')
    held.open()
    const statuses = (await Promise.all(answers)).map(({ status }) => status).sort()
    expect(statuses).toEqual([201, 201, 201, 503, 503, 503])
    expect((await app.request('POST', '/api/tenants/demo/documents', insert)).status).toBe(201)
  })

  it('the server refuses while too much waits for a commit', async () => {
    const app = await startTestApp({ ...roomy, queuedBytes: 1000 })
    app.tenants.queuedBytes = 1001
    expect((await app.request('GET', '/api/tenants')).status).toBe(503)
  })

  it('the operator still gets an answer', async () => {
    const app = await startTestApp({ ...roomy, requests: 0 })
    expect((await app.request('GET', '/api/tenants')).status).toBe(503)
    expect((await app.request('GET', '/health')).status).toBe(200)
    const metrics = await app.request('GET', '/metrics')
    expect(metrics.text).toContain('\nnimbus_http_requests_shed_total 1\n')
  })

  it('nobody without a token takes a place', async () => {
    const app = await startTestApp({ ...roomy, requests: 0 })
    expect((await app.request('GET', '/api/tenants', undefined, { authorization: '' })).status).toBe(401)
  })

  it('a client that goes away gives its place back', async () => {
    const app = await startTestApp({ ...roomy, requests: 1 })
    await app.request('POST', '/api/tenants', { id: 'demo' })
    const held = gate()
    app.tenants.gate = () => held.closed
    const aborted = new AbortController()
    const url = `${app.origin}/api/tenants/demo/documents`
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      'content-type': 'application/json',
    }
    const pending = fetch(url, { method: 'POST', headers, body: JSON.stringify(insert), signal: aborted.signal })
    await expect.poll(async () => (await app.request('GET', '/metrics')).text).toContain('requests_in_flight 1\n')
    aborted.abort()
    await expect(pending).rejects.toThrow()
    await expect.poll(async () => (await app.request('GET', '/metrics')).text).toContain('requests_in_flight 0\n')
    expect((await app.request('GET', '/metrics')).text).toContain('status="499"')
    held.open()
  })

  it('slow readers of large answers keep nobody from small ones', async () => {
    const app = await startTestApp({ ...roomy, answerBytes: 16 * 1024 * 1024 })
    await app.request('POST', '/api/tenants', { id: 'demo' })
    const large = { table: 't', fields: { text: 'x'.repeat(1_000_000) } }
    const [first] = await Promise.all(
      Array.from({ length: 12 }, () => app.request('POST', '/api/tenants/demo/documents', large)),
    )
    const list = '/api/tenants/demo/documents/t'
    expect((await app.request('GET', list)).status).toBe(200)

    const stalled = connect(Number(new URL(app.origin).port), '127.0.0.1')
    stalled.pause()
    stalled.write(`GET ${list} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`)
    await expect.poll(async () => (await app.request('GET', '/metrics')).text).toMatch(/answer_bytes 12\d{6}\n/)
    expect((await app.request('GET', list)).body.error.code).toBe('overloaded')
    expect((await app.request('POST', '/api/tenants/demo/query', { table: 't' })).status).toBe(503)
    expect((await app.request('GET', `${list}/${first?.body.id}`)).status).toBe(200)
    expect((await app.request('POST', '/api/tenants/demo/documents', insert)).status).toBe(201)

    stalled.destroy()
    await expect.poll(async () => (await app.request('GET', list)).status).toBe(200)
  })
})
