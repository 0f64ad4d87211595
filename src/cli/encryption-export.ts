/** `nimbus encryption export`: a plaintext copy of an encrypted database, for recovery or for somebody who needs plaintext. */
import { dirname, resolve } from 'node:path'
import { type FlagSpec, parseFlags } from '../config/flags.js'
import { resolveEncryptionCommandConfig } from '../config/storage.js'
import { exportPlaintext } from '../encryption/export.js'
import { openKeyProvider } from '../keys/open.js'
import type { Command } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { printResults } from './results.js'
import { refuseServerFlags } from './server-flags.js'
import { SUBJECT_FLAGS, required, requireControlPlane, subjectOf } from './subject-flags.js'

const NAME = 'nimbus encryption export'

const FLAGS: readonly FlagSpec[] = [
  {
    flag: '--source',
    value: '<path>',
    help: 'The encrypted database, which nobody has open, with its manifest beside it.',
  },
  { flag: '--target', value: '<path>', help: 'The plaintext copy. It must not exist.' },
  ...SUBJECT_FLAGS,
  { flag: '--skip-validation', value: null, help: 'Do not read both files again to compare them.' },
]

export const encryptionExport: Command = {
  usage: '--source <path> --target <path> --provider <name> --tenant-id <id> [options]',
  description:
    'Copies an encrypted database into a new plaintext file that only its owner can read. Stop the server first. The copy gets ' +
    'its name when it is complete, compared with the source and on the disk. The source and its manifest stay as they ' +
    'are. What an interrupted export left is removed by the next one to the same target.',
  sections: [{ title: 'Options', flags: FLAGS }],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, FLAGS)
    const source = required(NAME, flags, '--source')
    const subject = subjectOf(NAME, flags)
    requireControlPlane(NAME, subject, source)
    const target = required(NAME, flags, '--target')
    const config = resolveEncryptionCommandConfig(context.env)
    const keys = await openKeyProvider(config.encryption, [
      config.dataDir,
      config.controlDataDir,
      dirname(resolve(source)),
    ])
    const display = new ProgressDisplay(process.stderr)
    try {
      const validate = !flags.has('--skip-validation')
      const exported = await interruptibly((signal) =>
        exportPlaintext({ source, target, subject, keys, validate, signal, onProgress: display.update }),
      )
      display.end()
      const before = exported.undone ? 'What an interrupted export had left was removed first. ' : ''
      const note = `${before}It is plaintext: whoever reads the file reads the data.`
      printResults('encryption export', [{ path: exported.target, outcome: 'exported', note }], context)
      return 0
    } finally {
      display.end()
      keys.close()
    }
  },
}
