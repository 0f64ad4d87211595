/**
 * The same server without group commit: a tenant's next write starts when the one before is on the disk. It takes the
 * arguments of `nimbus start`.
 */
import { resolveStartConfig } from '../../dist/config/start.js'
import { openKeyProvider } from '../../dist/keys/open.js'
import { AdminToken } from '../../dist/server/admin-token.js'
import { createApp } from '../../dist/server/app.js'
import { postureOf } from '../../dist/server/encryption-posture.js'
import { createLogger } from '../../dist/server/log.js'
import { startTenants } from '../../dist/server/start-tenants.js'
import { createDirectory } from '../../dist/native.js'
import { createSqliteProvider } from '../../dist/tenants/sqlite/provider.js'

const config = resolveStartConfig(process.argv.slice(3), process.env)
createDirectory(config.dataDir)
const keys = config.encryption && (await openKeyProvider(config.encryption, [config.dataDir]))
const log = createLogger()
const { tenants, control, close } = await startTenants({
  tenantsOf: (onRotation) => createSqliteProvider({ directory: config.dataDir, keys, onRotation }),
  controlPlane: { directory: config.dataDir, keys },
  dataDir: config.dataDir,
  warn: (what) => log.warn(what),
})
const admin = AdminToken.loadOrCreate(config.authTokenFile)
const app = createApp({
  tenants: withWritesInTurn(tenants),
  posture: postureOf(config),
  tokens: { accepts: (token) => admin.accepts(token), grantOf: (token) => control.tokens.grantOf(token) },
  control,
  log,
  tls: undefined,
})
await app.listen({ host: config.host, port: config.port })
console.log(`listening on http://${config.host}:${app.server.address().port}`)
process.once('SIGTERM', async () => {
  await app.close()
  await close()
})

function withWritesInTurn(provider) {
  const stores = new Map()
  return replacing(provider, {
    async open(id) {
      const store = await provider.open(id)
      if (!stores.has(store)) stores.set(store, replacing(store, { insert: inTurn(store.insert.bind(store)) }))
      return stores.get(store)
    },
  })
}

/** `target` with some methods exchanged; the others still see the real `this`. */
function replacing(target, methods) {
  return new Proxy(target, {
    get(_, name) {
      if (name in methods) return methods[name]
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function inTurn(write) {
  let last = Promise.resolve()
  return (...args) => {
    const result = last.then(() => write(...args))
    last = result.catch(() => undefined)
    return result
  }
}
