import { describe, expect, it } from 'vitest'
import { startTestApp } from '../support/http.js'

const SAMPLE = /^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[a-z]+="[^"\n]*"(?:,[a-z]+="[^"\n]*")*\})? -?[0-9.e+-]+$/

describe('/metrics', () => {
  it('is in the Prometheus text format, each family with its help and type before its samples', async () => {
    const app = await startTestApp()
    await app.request('GET', '/health')
    const { text, headers } = await app.request('GET', '/metrics')
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(text.endsWith('\n')).toBe(true)
    const typed = new Set<string>()
    for (const line of text.trimEnd().split('\n')) {
      const type = /^# TYPE (\S+) (?:counter|gauge|histogram)$/.exec(line)
      if (type?.[1] !== undefined) typed.add(type[1])
      if (line.startsWith('#')) continue
      expect(line).toMatch(SAMPLE)
      const family = line.replace(/[{ ].*$/, '').replace(/_(?:bucket|sum|count)$/, '')
      expect(typed).toContain(family)
    }
  })

  it('counts requests by method, route pattern and status', async () => {
    const app = await startTestApp()
    await app.request('POST', '/api/tenants', { id: 'demo' })
    await app.request('GET', '/api/tenants/demo/documents/secret-table')
    await app.request('GET', '/api/tenants/nobody/documents/secret-table')
    const { text } = await app.request('GET', '/metrics')
    const route = 'method="GET",route="/api/tenants/:tenant/documents/:table"'
    expect(text).toContain(`nimbus_http_requests_total{${route},status="200"} 1\n`)
    expect(text).toContain(`nimbus_http_requests_total{${route},status="404"} 1\n`)
    expect(text).toContain(`nimbus_http_request_duration_seconds_count{${route}} 2\n`)
    expect(text).not.toContain('secret-table')
  })

  it('has cumulative buckets that end at the count', async () => {
    const app = await startTestApp()
    for (let round = 0; round < 5; round++) await app.request('GET', '/health')
    const { text } = await app.request('GET', '/metrics')
    const buckets = [...text.matchAll(/bucket\{method="GET",route="\/health",le="[^"]+"\} (\d+)/g)].map((hit) =>
      Number(hit[1]),
    )
    expect(buckets).toEqual([...buckets].sort((a, b) => a - b))
    expect(buckets.at(-1)).toBe(5)
  })

  it('does not grow with paths that no route has', async () => {
    const app = await startTestApp()
    for (let round = 0; round < 20; round++) await app.request('GET', `/scan/${round}`)
    const { text } = await app.request('GET', '/metrics')
    expect(text).toContain('nimbus_http_requests_total{method="GET",route="unknown",status="404"} 20\n')
  })

  it.each([
    'nimbus_event_loop_delay_seconds{quantile="0.99"}',
    'nimbus_group_commits_total',
    'nimbus_writes_total',
    'nimbus_open_tenants',
    'nimbus_queued_writes',
    'nimbus_queued_write_bytes',
    'nimbus_locked_memory_bytes',
    'process_resident_memory_bytes',
  ])('tells %s', async (name) => {
    const app = await startTestApp()
    expect((await app.request('GET', '/metrics')).text).toContain(`\n${name} `)
  })
})
