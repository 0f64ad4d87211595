/** A server that makes a tenant, writes to it and deletes it, on a disk that loses its power at any moment; then it starts again. */
import { expect, it } from 'vitest'
import { resolveStartConfig } from '../../src/config/start.js'
import { createLogger, runServer } from '../../src/server/run.js'
import { newHome, readToken, startServer } from '../support/cli.js'
import { requestJson } from '../support/http.js'
import { type State, recordingOf } from './recording.js'

it.each(['sqlite', 'redb'])(
  'a tenant of %s that was answered for is there after a power cut, and one that was deleted is not',
  async (tenantProvider) => {
    const home = newHome()
    const flags = ['--tenant-provider', tenantProvider]
    // The control plane is made before.
    await (await startServer(home, flags)).stop()
    const recording = recordingOf(home.dataDir)
    const server = await startServer(home, flags, { ...home.env, ...recording.env })
    const done = async (method: string, where: string, body: unknown, status: number): Promise<void> => {
      const answer = await server.request(method, where, body)
      expect(answer.status, JSON.stringify(answer.body)).toBe(status)
      recording.say(`${method} answered`)
    }
    await done('POST', '/api/tenants', { id: 'demo' }, 201)
    await done('POST', '/api/tenants/demo/documents', { table: 'notes', fields: { text: 'kept' } }, 201)
    recording.say('deletion asked')
    await done('DELETE', '/api/tenants/demo', undefined, 204)
    expect(await server.stop()).toMatchObject({ code: 0 })

    const keys = ['--encryption-key-provider', 'master-key-file', '--encryption-master-key-file', home.keyFile]
    const unread = createLogger({ write: () => undefined })
    const token = readToken(home.tokenFile)
    /** What a client is answered after the next start. */
    const ask = async (state: State): Promise<string> => {
      const places = ['--data-dir', state.materialise(), '--auth-token-file', home.tokenFile, '--port', '0']
      const again = await runServer(resolveStartConfig([...flags, ...keys, ...places], {}), unread)
      try {
        const query = { table: 'notes', limit: 10 }
        const { status, body } = await requestJson(`${again.url}/api/tenants/demo/query`, token, 'POST', query)
        return status === 200 ? `${body.data.length} documents` : body.error.code
      } finally {
        await again.stop()
      }
    }
    const losses = async (states: readonly State[], most: number): Promise<string[]> => {
      const lost: string[] = []
      for (const state of states) {
        if (lost.length === most) break
        const answer = await ask(state).catch(String)
        if (!allowed(state.said).includes(answer)) lost.push(`${state.after}: ${answer}`)
      }
      return lost
    }
    const states = recording.states()
    expect(states.length).toBeGreaterThan(20)
    expect(await losses(states, Infinity)).toEqual([])
    // It is the syncs that see to it.
    expect(await losses(recording.states(({ operation }) => operation !== 'sync').reverse(), 1)).not.toEqual([])
  },
  300_000,
)

/** By what the client was told before the power went. */
function allowed(said: readonly string[]): string[] {
  if (said.includes('DELETE answered')) return ['tenant_not_found']
  if (said.includes('deletion asked')) return ['tenant_not_found', '1 documents']
  switch (said.length) {
    case 0:
      return ['tenant_not_found', '0 documents']
    case 1:
      return ['0 documents', '1 documents']
    default:
      return ['1 documents']
  }
}
