/** Starts the server in the one safe order, and stops it in the reverse one. */
import { readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { createSecureContext } from 'node:tls'
import type { StartConfig, TlsConfig } from '../config/start.js'
import { NimbusError, systemErrorCode } from '../errors.js'
import { openKeyProvider } from '../keys/open.js'
import type { KeyProvider } from '../keys/provider.js'
import { FileLock, createDirectory, hardenProcess, lockedMemory } from '../native.js'
import { createTenantProvider } from '../tenants/create.js'
import { AdminToken } from './admin-token.js'
import { createApp } from './app.js'
import type { App } from './app-types.js'
import { postureOf } from './encryption-posture.js'
import type { Logger } from './log.js'
import { startTenants } from './start-tenants.js'
import { BackgroundVerification } from './verification.js'

export { createLogger, describeForLog } from './log.js'

export interface RunningServer {
  /** Where it listens: `http://127.0.0.1:8080`. */
  readonly url: string
  /** Refuses new requests, finishes running ones, checkpoints and closes every database. */
  stop(): Promise<void>
}

/** A client that does not take its answer in this time does not keep the server from stopping. */
const GRACE_MS = 10_000
const SWEEP_MS = 20
const LOCK_FILE = '.nimbus.lock'

/**
 * Configuration, lock, key, control plane, every tenant's manifest and key, then the network: what fails, fails before anything is served.
 *
 * `ownKeys` takes the place of the provider that the configuration names, and is not closed.
 *
 * @throws NimbusError naming the file, key or address; whatever was taken until then is given back.
 */
export async function runServer(config: StartConfig, log: Logger, ownKeys?: KeyProvider): Promise<RunningServer> {
  const undo: (() => void | Promise<void>)[] = []
  const unwind = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    const url = await startUp(config, log, ownKeys, undo)
    return { url, stop: unwind }
  } catch (error) {
    await unwind()
    throw error
  }
}

async function startUp(
  config: StartConfig,
  log: Logger,
  ownKeys: KeyProvider | undefined,
  undo: (() => void | Promise<void>)[],
): Promise<string> {
  const { dataDir, controlDataDir, encryption } = config
  if (hardenProcess().dumpable)
    log.warn('this process may be dumped or traced: key material could be read from outside')

  const tls = config.tls === undefined ? undefined : readTls(config.tls)
  for (const directory of new Set([dataDir, controlDataDir].map(madeDirectory))) {
    const lock = takeDirectory(directory)
    undo.push(() => {
      lock.release()
    })
    warnOfOpenDirectory(directory, log)
  }

  const opened = encryption && (await openKeyProvider(encryption, [dataDir, controlDataDir]))
  if (opened !== undefined) {
    undo.push(() => {
      opened.close()
    })
  }
  const keys = ownKeys ?? opened
  if (keys !== undefined) {
    for (const warning of keys.warnings) log.warn(warning)
    await keys.health?.()
  }

  const started = await startTenants({
    tenantsOf: (onRotation) => createTenantProvider(config.tenantProvider, { directory: dataDir, keys, onRotation }),
    controlPlane: { directory: controlDataDir, keys },
    dataDir,
    warn: (what) => {
      log.warn(what)
    },
  })
  undo.push(() => started.close())
  const { tenants, control } = started
  warnOfUnlockedKeys(log)

  const tokens = AdminToken.loadOrCreate(config.authTokenFile)
  for (const warning of tokens.warnings()) log.warn(warning)

  const authority = {
    accepts: (token: string) => tokens.accepts(token),
    grantOf: (token: string) => control.tokens.grantOf(token),
  }
  const verification = new BackgroundVerification({
    tenants,
    control,
    keys,
    directories: [
      { path: dataDir, holds: 'tenants' },
      { path: controlDataDir, holds: 'control_plane' },
    ],
    warn: (what) => {
      log.warn(what)
    },
  })
  undo.push(() => verification.stop())
  const app = createApp({
    tenants,
    posture: postureOf(config, keys),
    tokens: authority,
    control,
    verification,
    log,
    tls,
  })
  undo.push(() => closeWithin(app, GRACE_MS))
  return listen(app, config)
}

/** The directory without links on the way to it: both settings may name one, and it can be locked only once. */
function madeDirectory(directory: string): string {
  return usable(directory, () => {
    createDirectory(directory)
    return realpathSync(directory)
  })
}

function takeDirectory(directory: string): FileLock {
  return usable(directory, () => FileLock.exclusive(path.join(directory, LOCK_FILE)))
}

/** Whatever the reason: a directory that cannot be made or locked is one that cannot be used. */
function usable<T>(directory: string, use: () => T): T {
  try {
    return use()
  } catch (error) {
    if (!(error instanceof NimbusError) || error.code !== 'io_error') throw error
    throw new NimbusError('data_dir_unwritable', error.message, { path: directory, cause: error })
  }
}

function warnOfOpenDirectory(directory: string, log: Logger): void {
  const mode = statSync(directory).mode & 0o777
  if ((mode & 0o077) !== 0) {
    log.warn(`the data directory ${directory} is open to others (mode ${mode.toString(8)}): chmod 700 ${directory}`)
  }
}

function warnOfUnlockedKeys(log: Logger): void {
  const { locked, limitBytes } = lockedMemory()
  if (locked) return
  const limit = limitBytes === null ? '' : ` of ${limitBytes} bytes`
  log.warn(
    `keys could not be locked in memory and may be swapped out: raise the limit${limit} (ulimit -l, LimitMEMLOCK)`,
  )
}

function readTls({ certFile, keyFile }: TlsConfig): { cert: Buffer; key: Buffer } {
  const tls = { cert: readPem('--tls-cert', certFile), key: readPem('--tls-key', keyFile) }
  try {
    createSecureContext(tls)
  } catch (error) {
    throw new NimbusError('config_invalid', `--tls-cert ${certFile} and --tls-key ${keyFile} do not go together`, {
      remediation: 'Give a PEM certificate chain and the private key of its first certificate.',
      path: certFile,
      cause: error,
    })
  }
  return tls
}

function readPem(flag: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new NimbusError(
      'config_invalid',
      `cannot read ${flag} ${file}: ${systemErrorCode(error) ?? 'unknown error'}`,
      {
        remediation: 'Correct the path, and let the user that runs nimbus read the file.',
        path: file,
        cause: error,
      },
    )
  }
}

async function listen(app: App, { host, port, tls }: StartConfig): Promise<string> {
  // Whatever a resolver makes of this name, it is meant to be loopback; and two sockets would be two servers to stop.
  const address = host === 'localhost' ? '127.0.0.1' : host
  try {
    await app.listen({ host: address, port })
  } catch (error) {
    const reason = systemErrorCode(error)
    const why = reason === 'EADDRINUSE' ? 'another process listens there' : (reason ?? 'unknown error')
    throw new NimbusError('port_in_use', `cannot listen on ${host}:${port}: ${why}`, { cause: error })
  }
  const bound = app.server.address()
  const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port
  const name = address.includes(':') ? `[${address}]` : address
  return `${tls === undefined ? 'http' : 'https'}://${name}:${boundPort}`
}

/** Idle connections are closed as soon as they are; one that is still busy after `graceMs` is cut off. */
async function closeWithin(app: App, graceMs: number): Promise<void> {
  const { server } = app
  // Closing looks once for idle connections, and so misses those whose last request is only about to end.
  const sweep = setInterval(() => {
    server.closeIdleConnections()
  }, SWEEP_MS)
  const deadline = setTimeout(() => {
    server.closeAllConnections()
  }, graceMs)
  try {
    await app.close()
  } finally {
    clearInterval(sweep)
    clearTimeout(deadline)
  }
}
