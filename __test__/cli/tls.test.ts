import { request } from 'node:https'
import { fileURLToPath } from 'node:url'
import { connect, type SecureVersion } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { failToStart, newHome, startServer } from '../support/cli.js'
import { writeIn } from '../support/directory.js'

/** A self-signed certificate for localhost, made for these tests. */
const cert = fileURLToPath(new URL('../fixtures/tls/cert.pem', import.meta.url))
const key = fileURLToPath(new URL('../fixtures/tls/key.pem', import.meta.url))
const tlsFlags = ['--tls-cert', cert, '--tls-key', key]

function getOverTls(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request(url, { rejectUnauthorized: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .on('error', reject)
      .end()
  })
}

function handshake(url: string, version: SecureVersion): Promise<string> {
  const { port } = new URL(url)
  return new Promise((resolve) => {
    const options = { port: Number(port), rejectUnauthorized: false, minVersion: version, maxVersion: version } as const
    const socket = connect(options, () => {
      resolve(socket.getProtocol() ?? 'none')
      socket.destroy()
    })
    socket.on('error', () => {
      resolve('refused')
    })
  })
}

describe('TLS', () => {
  it('is spoken in version 1.3 only', async () => {
    const server = await startServer(newHome(), tlsFlags)
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    expect(await getOverTls(`${server.url}/health`)).toBe(200)
    expect(await handshake(server.url, 'TLSv1.3')).toBe('TLSv1.3')
    expect(await handshake(server.url, 'TLSv1.2')).toBe('refused')
    expect((await server.stop()).code).toBe(0)
  })

  it('permits the network', async () => {
    const server = await startServer(newHome(), ['--host', '0.0.0.0', '--allow-network', ...tlsFlags])
    expect(server.url).toMatch(/^https:\/\/0\.0\.0\.0:\d+$/)
  })

  it.each([
    ['a certificate that is not there', ['--tls-cert', '/does/not/exist.pem', '--tls-key', key], '--tls-cert'],
    ['a key that is not there', ['--tls-cert', cert, '--tls-key', '/does/not/exist.pem'], '--tls-key'],
  ])('is refused with %s', async (_what, flags, names) => {
    const { code, stderr } = await failToStart(newHome().env, flags)
    expect(code).toBe(2)
    expect(stderr).toMatch(/^nimbus: .+\nhint: .+\n$/)
    expect(stderr).toContain(names)
  })

  it('is refused with files that are no certificate and key', async () => {
    const home = newHome()
    const junk = writeIn(home.root, 'junk.pem', 'junk')
    for (const flags of [
      ['--tls-cert', junk, '--tls-key', key],
      ['--tls-cert', cert, '--tls-key', junk],
      ['--tls-cert', key, '--tls-key', cert],
    ]) {
      const { code, stderr } = await failToStart(home.env, flags)
      expect(code).toBe(2)
      expect(stderr).toMatch(/^nimbus: .+\nhint: .+\n$/)
      expect(stderr).toContain('--tls-cert')
    }
  })
})
