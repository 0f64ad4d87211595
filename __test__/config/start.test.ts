import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config/settings.js'
import { resolveStartConfig } from '../../src/config/start.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { failureOf } from '../support/failure.js'

const encryption = ['--encryption-key-provider', 'master-key-file', '--encryption-master-key-file', '/k/master.key']

function configFile(content: unknown): string {
  const text = typeof content === 'string' ? content : JSON.stringify(content)
  return writeIn(temporaryDirectory(), 'nimbus.json', text)
}

describe('defaults', () => {
  it('serves ./data on loopback port 8080 without encryption when nothing is set', () => {
    const config = resolveStartConfig([], { XDG_DATA_HOME: '/xdg' })
    expect(config).toEqual({
      host: '127.0.0.1',
      port: 8080,
      allowNetwork: false,
      behindProxy: false,
      tls: undefined,
      dataDir: path.resolve('data'),
      controlDataDir: path.resolve('data'),
      tenantProvider: 'sqlite',
      encryption: undefined,
      authTokenFile: '/xdg/nimbus/auth/token',
    })
  })

  it('puts the control plane into the data directory unless told otherwise', () => {
    expect(resolveStartConfig(['--data-dir', '/d'], {}).controlDataDir).toBe('/d')
    expect(resolveStartConfig(['--data-dir', '/d', '--control-data-dir', '/c'], {}).controlDataDir).toBe('/c')
  })

  it.each([{}, { XDG_DATA_HOME: '' }, { XDG_DATA_HOME: 'relative' }])(
    'keeps the token in ~/.local/share under %j',
    (env) => {
      expect(resolveStartConfig([], env).authTokenFile).toMatch(/^\/.*\/\.local\/share\/nimbus\/auth\/token$/)
    },
  )
})

describe('precedence', () => {
  it('takes the flag before the environment before the file', () => {
    const file = configFile({ persistence: { data_dir: '/from-file' } })
    const env = { NIMBUS_CONFIG: file, NIMBUS_DATA_DIR: '/from-environment' }
    expect(resolveStartConfig(['--data-dir', '/from-flag'], env).dataDir).toBe('/from-flag')
    expect(resolveStartConfig([], env).dataDir).toBe('/from-environment')
    expect(resolveStartConfig([], { NIMBUS_CONFIG: file }).dataDir).toBe('/from-file')
    expect(resolveStartConfig(['--config', file], {}).dataDir).toBe('/from-file')
  })

  it('takes --config before NIMBUS_CONFIG', () => {
    const one = configFile({ persistence: { data_dir: '/one' } })
    expect(resolveStartConfig(['--config', one], { NIMBUS_CONFIG: '/does/not/exist' }).dataDir).toBe('/one')
  })

  it('reads paths in the file relative to the file', () => {
    const file = configFile({ persistence: { data_dir: 'tenants' } })
    expect(resolveStartConfig(['--config', file], {}).dataDir).toBe(path.join(path.dirname(file), 'tenants'))
  })

  it('joins an encryption configuration from all three sources', () => {
    const file = configFile({ persistence: { encryption_key_provider: 'master-key-file' } })
    const config = resolveStartConfig(['--config', file], { NIMBUS_ENCRYPTION_MASTER_KEY_FILE: '/k' })
    expect(config.encryption).toEqual({ provider: 'master-key-file', masterKeyFile: '/k' })
  })
})

describe('the environment', () => {
  it('accepts master_key_file for master-key-file', () => {
    const env = { NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master_key_file', NIMBUS_ENCRYPTION_MASTER_KEY_FILE: '/k' }
    expect(resolveStartConfig([], env).encryption?.provider).toBe('master-key-file')
  })

  it('does not accept master_key_file as a flag', () => {
    const error = failureOf(() => resolveStartConfig(['--encryption-key-provider', 'master_key_file'], {}))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain('must be one of master-key-file, key-dir, aws-kms')
  })

  it('treats an empty variable as not set', () => {
    expect(resolveStartConfig([], { NIMBUS_DATA_DIR: '' }).dataDir).toBe(path.resolve('data'))
  })

  it.each(['NIMBUS_ENCRYPTION_KEY_PROVIDER', 'NIMBUS_ENCRYPTION_MASTER_KEY_FILE', 'NIMBUS_CONFIG'])(
    'refuses an empty %s, which would silently turn encryption off',
    (variable) => {
      const error = failureOf(() => resolveStartConfig([], { [variable]: '' }))
      expect(error.code).toBe('config_invalid')
      expect(error.message).toBe(`${variable} is set but empty`)
    },
  )

  it('refuses an encryption variable that does not exist, proposing the one that was meant', () => {
    const error = failureOf(() => resolveStartConfig([], { NIMBUS_ENCRYPTION_KEYPROVIDER: 'master-key-file' }))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain('NIMBUS_ENCRYPTION_KEYPROVIDER')
    expect(error.remediation).toBe('Did you mean NIMBUS_ENCRYPTION_KEY_PROVIDER?')
  })

  it('ignores other variables that begin with NIMBUS', () => {
    expect(() => resolveStartConfig([], { NIMBUS_TOKEN: 'x', NIMBUS_NATIVE_PATH: '/x' })).not.toThrow()
  })
})

describe('settings of a provider that is not selected', () => {
  const value = { path: '/x', url: 'https://x.example', text: 'x', count: '3' }
  const foreign = SETTINGS.flatMap((setting) => {
    if (!('belongsTo' in setting)) return []
    return [{ setting, name: setting.name, text: value[setting.kind] }]
  })

  it('covers every provider of product.md', () => {
    const owners = new Set(foreign.map(({ setting }) => setting.belongsTo.value))
    expect([...owners].sort()).toEqual(['aws-kms', 'key-dir', 'libsql-replica', 'master-key-file', 'mysql', 'postgres'])
  })

  it.each(foreign)('refuses $name as a flag, naming flag, variable and key', ({ setting, text }) => {
    const error = failureOf(() => resolveStartConfig([setting.flag, text], {}))
    expect(error.code).toBe('config_invalid')
    for (const name of [setting.flag, setting.variable, setting.key]) expect(error.message).toContain(name)
    expect(error.message).toContain('on the command line')
  })

  it.each(foreign)('refuses $name from the environment', ({ setting, text }) => {
    const error = failureOf(() => resolveStartConfig([], { [setting.variable]: text }))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain('in the environment')
  })

  it.each(foreign)('refuses $name from the file', ({ setting, text }) => {
    const file = configFile({ persistence: { [setting.key]: setting.kind === 'count' ? 3 : text } })
    const error = failureOf(() => resolveStartConfig(['--config', file], {}))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain(file)
  })

  it('refuses the setting of another key provider even when its own provider is given too', () => {
    const error = failureOf(() => resolveStartConfig([...encryption, '--encryption-key-dir', '/keys'], {}))
    expect(error.message).toContain('--encryption-key-dir (NIMBUS_ENCRYPTION_KEY_DIR, encryption_key_dir)')
    expect(error.message).toContain('it belongs to key-dir')
    expect(error.message).toContain('is master-key-file')
  })

  it('refuses encryption settings without --encryption-key-provider', () => {
    const error = failureOf(() => resolveStartConfig(['--encryption-master-key-file', '/k'], {}))
    expect(error.message).toContain('--encryption-key-provider (NIMBUS_ENCRYPTION_KEY_PROVIDER')
    expect(error.remediation).toContain('--encryption-key-provider master-key-file')
  })

  it('never repeats a secret', () => {
    for (const setting of SETTINGS) {
      if (!('secret' in setting)) continue
      const bad = setting.kind === 'url' ? 'not a url hunter2' : 'hunter2'
      const error = failureOf(() => resolveStartConfig([setting.flag, bad], {}))
      expect(`${error.message} ${error.remediation}`).not.toContain('hunter2')
    }
  })
})

describe('providers', () => {
  it.each(['sqlite', 'redb'])('takes tenant provider %s', (name) => {
    expect(resolveStartConfig(['--tenant-provider', name], {}).tenantProvider).toBe(name)
    expect(resolveStartConfig([], { NIMBUS_TENANT_PROVIDER: name }).tenantProvider).toBe(name)
  })

  it.each(['libsql-replica', 'postgres', 'mysql'])(
    'says that tenant provider %s is not available, and what is',
    (name) => {
      const error = failureOf(() => resolveStartConfig(['--tenant-provider', name], {}))
      expect(error.code).toBe('config_invalid')
      expect(error.message).toContain(`${name} is not available in this version`)
      expect(error.remediation).toContain('sqlite')
    },
  )

  it('takes aws-kms with a key, and leaves region and endpoint to the AWS chain', () => {
    const args = ['--encryption-key-provider', 'aws-kms', '--encryption-aws-kms-key-id', 'alias/demo']
    const chosen = { provider: 'aws-kms', keyId: 'alias/demo' }
    expect(resolveStartConfig(args, {}).encryption).toEqual({ ...chosen, region: undefined, endpointUrl: undefined })
    const variables = {
      NIMBUS_ENCRYPTION_AWS_REGION: 'us-east-1',
      NIMBUS_ENCRYPTION_AWS_ENDPOINT_URL: 'http://localhost:4566',
    }
    expect(resolveStartConfig(args, variables).encryption).toMatchObject({
      region: 'us-east-1',
      endpointUrl: 'http://localhost:4566',
    })
  })

  it('demands the key of aws-kms', () => {
    const error = failureOf(() => resolveStartConfig(['--encryption-key-provider', 'aws-kms'], {}))
    expect(error.message).toContain('needs --encryption-aws-kms-key-id')
  })

  it('demands the key file of master-key-file', () => {
    const error = failureOf(() => resolveStartConfig(['--encryption-key-provider', 'master-key-file'], {}))
    expect(error.message).toContain('needs --encryption-master-key-file')
  })
})

describe('the network', () => {
  it.each(['127.0.0.1', '127.8.9.1', '::1', 'localhost'])('listens on %s without further ado', (host) => {
    expect(resolveStartConfig(['--host', host], {}).host).toBe(host)
  })

  it.each(['0.0.0.0', '::', '192.168.1.2', 'example.com', '::ffff:10.0.0.1'])(
    'refuses %s without --allow-network',
    (host) => {
      const error = failureOf(() => resolveStartConfig(['--host', host], {}))
      expect(error.code).toBe('config_invalid')
      expect(error.remediation).toContain('--allow-network')
    },
  )

  it('refuses the network without TLS and without a proxy', () => {
    const error = failureOf(() => resolveStartConfig(['--host', '0.0.0.0', '--allow-network'], {}))
    expect(error.message).toContain('without TLS')
  })

  it.each([['--behind-proxy'], ['--tls-cert', '/c', '--tls-key', '/k']])('permits the network with %s', (...flags) => {
    expect(resolveStartConfig(['--host', '0.0.0.0', '--allow-network', ...flags], {}).host).toBe('0.0.0.0')
  })

  it('refuses half of the TLS settings', () => {
    expect(failureOf(() => resolveStartConfig(['--tls-cert', '/c'], {})).message).toContain(
      '--tls-key (NIMBUS_TLS_KEY)',
    )
    expect(failureOf(() => resolveStartConfig([], { NIMBUS_TLS_KEY: '/k' })).message).toContain('--tls-cert')
  })
})

describe('the command line', () => {
  it('accepts --flag=value', () => {
    expect(resolveStartConfig(['--port=0'], {}).port).toBe(0)
  })

  it.each([
    [['--prot', '1'], 'no option "--prot"', 'Did you mean --port?'],
    [['--port'], '--port needs a value', 'nimbus start --help'],
    [['--host', '--port', '1'], '--host needs a value', 'nimbus start --help'],
    [['--port', '1', '--port', '2'], '--port is given twice', 'nimbus start --help'],
    [['--allow-network=yes'], '--allow-network takes no value', 'nimbus start --help'],
    [['data'], 'no argument "data"', 'nimbus start --help'],
  ])('refuses %j', (argv, message, remediation) => {
    const error = failureOf(() => resolveStartConfig(argv, {}))
    expect(error.code).toBe('usage')
    expect(error.message).toContain(message)
    expect(error.remediation).toContain(remediation)
  })

  it.each(['-1', '65536', '80x', '0x50', ' 80', '1e3', ''])('refuses port %j', (port) => {
    expect(failureOf(() => resolveStartConfig([`--port=${port}`], {})).code).toBe('config_invalid')
  })

  it('refuses an empty data directory', () => {
    expect(failureOf(() => resolveStartConfig(['--data-dir='], {})).message).toContain('--data-dir must not be empty')
  })
})

describe('the config file', () => {
  it.each([
    ['', 'not valid JSON'],
    ['{"persistence": {"data_dir": "/d",}}', 'not valid JSON'],
    ['[]', 'it is not an object'],
    ['{"persistence": []}', '"persistence" is not an object'],
    ['{"data_dir": "/d"}', 'unknown key "data_dir"'],
    ['{"persistence": {"host": "0.0.0.0"}}', 'unknown key "host" under "persistence"'],
    ['{"persistence": {"data-dir": "/d"}}', 'unknown key "data-dir"'],
    ['{"persistence": {"__proto__": {}}}', 'unknown key "__proto__"'],
    ['{"persistence": {"data_dir": 7}}', 'data_dir in'],
    ['{"persistence": {"data_dir": null}}', 'must be a string'],
    ['{"persistence": {"data_dir": ""}}', 'must not be empty'],
    ['{"persistence": {"data_dir": "/a", "data_dir": "/b"}}', 'key "data_dir" stands there twice'],
    ['{"persistence": {"data_dir": "/a", "data\\u005fdir": "/b"}}', 'key "data_dir" stands there twice'],
    ['{"persistence": {}, "persistence": {}}', 'key "persistence" stands there twice'],
  ])('refuses %s', (content, message) => {
    const file = configFile(content)
    const error = failureOf(() => resolveStartConfig(['--config', file], {}))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toContain(message)
    expect(error.message).toContain(file)
  })

  it('takes numbers as numbers only', () => {
    const file = configFile({ persistence: { postgres_min_connections: '3' } })
    expect(failureOf(() => resolveStartConfig(['--config', file], {})).message).toContain('must be a whole number')
  })

  it('does not mistake braces and colons inside strings for structure', () => {
    const file = configFile('{"persistence": {"data_dir": "/a\\"}{:,[\\\\", "control_data_dir": "/data_dir\\": "}}')
    expect(resolveStartConfig(['--config', file], {}).controlDataDir).toBe('/data_dir": ')
  })

  it('refuses a file that does not exist, naming it', () => {
    const error = failureOf(() => resolveStartConfig(['--config', '/does/not/exist.json'], {}))
    expect(error.code).toBe('config_invalid')
    expect(error.message).toBe('cannot read the config file /does/not/exist.json: ENOENT')
  })

  it('does not quote a broken file, which may hold a password', () => {
    const file = configFile('{"persistence": {"postgres_url": "postgres://u:hunter2@h/d" oops')
    const error = failureOf(() => resolveStartConfig(['--config', file], {}))
    expect(error.message).not.toContain('hunter2')
  })

  it('proposes the key that was meant', () => {
    const file = configFile({ persistence: { datadir: '/d' } })
    expect(failureOf(() => resolveStartConfig(['--config', file], {})).remediation).toBe('Did you mean data_dir?')
  })
})
