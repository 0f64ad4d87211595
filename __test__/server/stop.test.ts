import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { TOKEN, startTestApp } from '../support/http.js'

const insert = JSON.stringify({ table: 't', fields: { n: 1 } })
const request =
  'POST /api/tenants/demo/documents HTTP/1.1\r\nHost: x\r\n' +
  `Authorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\nContent-Length: ${insert.length}\r\n\r\n${insert}`

describe('an application that is being closed', () => {
  it('answers the running request, and refuses the next one on the same connection', async () => {
    const app = await startTestApp()
    await app.request('POST', '/api/tenants', { id: 'demo' })
    let open = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    app.tenants.gate = () => gate

    let received = ''
    const socket = connect(Number(new URL(app.origin).port), '127.0.0.1')
    socket.on('data', (chunk) => (received += String(chunk)))
    const ended = new Promise((resolve) => socket.once('close', resolve))
    socket.write(request)
    await expect.poll(app.begun).toBe(2)
    const closed = app.close()
    socket.write(request)
    await expect.poll(app.begun).toBe(3)
    open()
    await ended
    await closed

    const [first = '', second = ''] = received.split(/(?<=\})(?=HTTP\/1\.1 )/)
    expect(first).toMatch(/^HTTP\/1\.1 201 /)
    expect(second).toMatch(/^HTTP\/1\.1 503 /)
    expect(second.toLowerCase()).toContain('\r\nconnection: close\r\n')
    expect(second.toLowerCase()).toContain('\r\nretry-after: 1\r\n')
    expect(second).toContain('"code":"shutting_down"')
  })
})
