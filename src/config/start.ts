/** Everything `nimbus start` is told, settled and checked. */
import { NimbusError } from '../errors.js'
import { parseFlags, type FlagSpec } from './flags.js'
import { isLoopback } from './loopback.js'
import { SETTINGS, flagSpec, namesOf, settingNamed } from './settings.js'
import { settle, type Settled } from './settle.js'
import type { Environment } from './sources.js'
import { storageConfig, type StorageConfig } from './storage.js'
import { defaultTokenFile } from './token-file.js'

export interface TlsConfig {
  readonly certFile: string
  readonly keyFile: string
}

export interface StartConfig extends StorageConfig {
  readonly host: string
  readonly port: number
  readonly allowNetwork: boolean
  readonly behindProxy: boolean
  readonly tls: TlsConfig | undefined
  readonly authTokenFile: string
}

/** What `nimbus start` takes: the whole table. */
export const START_FLAGS: readonly FlagSpec[] = SETTINGS.map(flagSpec)

/** @throws NimbusError `usage` for the command line, `config_invalid` for everything else. */
export function resolveStartConfig(argv: readonly string[], env: Environment): StartConfig {
  const values = settle(parseFlags('nimbus start', argv, START_FLAGS), env)
  const config = {
    ...storageConfig(values),
    host: values.text('host'),
    port: values.number('port'),
    allowNetwork: values.isSet('allow_network'),
    behindProxy: values.isSet('behind_proxy'),
    tls: tlsConfig(values),
    authTokenFile: values.text('auth_token_file', () => defaultTokenFile(env)),
  }
  refuseOpenNetwork(config)
  return config
}

function tlsConfig(values: Settled): TlsConfig | undefined {
  const certFile = values.optionalText('tls_cert')
  const keyFile = values.optionalText('tls_key')
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile }
  if (certFile === undefined && keyFile === undefined) return undefined
  const [present, absent] = certFile === undefined ? ['tls_key', 'tls_cert'] : ['tls_cert', 'tls_key']
  const names = [namesOf(settingNamed(present)), namesOf(settingNamed(absent))]
  throw new NimbusError('config_invalid', `${names[0]} is set without ${names[1]}`, {
    remediation: 'Give both to turn TLS on, or neither.',
  })
}

/** A token that travels over a network in the clear is everybody's token. */
function refuseOpenNetwork(config: StartConfig): void {
  if (isLoopback(config.host)) return
  if (!config.allowNetwork) {
    throw new NimbusError('config_invalid', `--host ${config.host} is not a loopback address`, {
      remediation: 'Add --allow-network, and TLS (--tls-cert and --tls-key) or --behind-proxy.',
    })
  }
  if (config.tls === undefined && !config.behindProxy) {
    throw new NimbusError('config_invalid', `--host ${config.host} would serve the network without TLS`, {
      remediation: 'Give --tls-cert and --tls-key, or --behind-proxy if a proxy terminates TLS.',
    })
  }
}
