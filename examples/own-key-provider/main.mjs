/**
 * A server whose keys a process of its own wraps. `npm run build` first, then:
 *
 *     node examples/own-key-provider/main.mjs
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { dataKeyProvider, startServer } from '@nimbus/storage'
import { keyBoxService } from './key-box-service.mjs'

const directory = mkdtempSync(join(tmpdir(), 'nimbus-own-key-provider-'))
const at = (/** @type {string} */ name) => join(directory, name)

const box = spawn(
  process.execPath,
  [fileURLToPath(new URL('key-box.mjs', import.meta.url)), at('kek'), at('box.sock')],
  {
    stdio: ['ignore', 'pipe', 'inherit'],
  },
)
await once(box.stdout, 'data')

const keyProvider = dataKeyProvider(keyBoxService(at('box.sock')))
const flags = ['--data-dir', at('data'), '--auth-token-file', at('token'), '--port', '0']
const server = await startServer({ flags, keyProvider })

const { token } = JSON.parse(readFileSync(at('token'), 'utf8'))
/**
 * @param {string} path
 * @param {object} body
 */
async function call(path, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return response.json()
}
console.log('tenant:  ', JSON.stringify(await call('/api/tenants', { id: 'demo' })))
console.log(
  'document:',
  JSON.stringify(await call('/api/tenants/demo/documents', { table: 'notes', fields: { n: 1 } })),
)

const manifest = JSON.parse(readFileSync(at('data/demo.sqlite3.nimbus-enc'), 'utf8').split('\n')[0] ?? '')
console.log('manifest:', JSON.stringify(manifest).slice(0, 400))

await server.stop()
keyProvider.close()
box.kill()
rmSync(directory, { recursive: true })
