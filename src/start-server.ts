/** The server inside a program of one's own, whose keys a provider of its own wraps. */
import { resolveStartConfig } from './config/start.js'
import { NimbusError } from './errors.js'
import type { KeyProvider } from './keys/provider.js'
import type { RunningServer } from './server/run.js'

export interface ServerOptions {
  /** The flags of `nimbus start`, without those of encryption: `['--data-dir', '/var/lib/nimbus']`. No variable is read. */
  readonly flags: readonly string[]
  /** Asked once for its health, then for each tenant. Stays open when the server stops. */
  readonly keyProvider: KeyProvider
}

/**
 * Starts a server as `nimbus start` does, with its log on stderr, in this process: one a data directory, and no other program may
 * have it open. Makes the process not dumpable.
 *
 * @throws NimbusError as `nimbus start` fails: `usage`, `config_invalid`, `file_busy`, what the provider throws, and others of
 * docs/errors.md. Nothing is left open then.
 */
export async function startServer({ flags, keyProvider }: ServerOptions): Promise<RunningServer> {
  const config = resolveStartConfig(flags, {})
  if (config.encryption !== undefined) {
    throw new NimbusError('config_invalid', 'the flags select a key provider, and another one is given', {
      remediation: 'Leave the flags of encryption out.',
    })
  }
  const { createLogger, runServer } = await import('./server/run.js')
  const log = createLogger()
  try {
    const server = await runServer(config, log, keyProvider)
    return {
      url: server.url,
      stop: async () => {
        await server.stop()
        log.flush()
      },
    }
  } catch (error) {
    log.flush()
    throw error
  }
}
