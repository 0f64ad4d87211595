/** `nimbus encryption status`: needs no key and takes no lock, so it works while the server runs. */
import { access } from 'node:fs/promises'
import { parseFlags } from '../config/flags.js'
import { resolveEncryptionCommandConfig, type CommandConfig } from '../config/storage.js'
import { readDirectoryStatus } from '../encryption/directory.js'
import { ERROR_CODES } from '../errors.js'
import { postureOf, type EncryptionStatus } from '../server/encryption-posture.js'
import type { Command, Context } from './command.js'
import { statusText } from './encryption-status-text.js'
import { refuseServerFlags } from './server-flags.js'

const NAME = 'nimbus encryption status'

export const encryptionStatus: Command = {
  usage: '[options]',
  description:
    'Reports the key provider, which families of files the configuration encrypts, and every database file as the disk ' +
    'shows it. The configuration comes from the environment (NIMBUS_DATA_DIR, NIMBUS_ENCRYPTION_...) or from the file ' +
    'that NIMBUS_CONFIG names. Ends with 0 if every file is encrypted and consistent, else with 5.',
  sections: [],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    parseFlags(NAME, argv, [])
    const config = resolveEncryptionCommandConfig(context.env)
    await warnOfMissingDirectory(config, context)
    const files = await readDirectoryStatus([
      { path: config.dataDir, holds: 'tenants' },
      { path: config.controlDataDir, holds: 'control_plane' },
    ])
    const status: EncryptionStatus = { ...postureOf(config), files }
    context.print(context.format === 'json' ? `${JSON.stringify(status)}\n` : statusText(status, config.dataDir))
    return files.every(({ state }) => state === 'encrypted') ? 0 : ERROR_CODES.manifest_altered.exitCode
  },
}

async function warnOfMissingDirectory({ dataDir }: CommandConfig, { warn }: Context): Promise<void> {
  try {
    await access(dataDir)
  } catch {
    warn(`there is no data directory ${dataDir}`, 'Set NIMBUS_DATA_DIR to the one that the server uses.')
  }
}
