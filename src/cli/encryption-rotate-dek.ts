/** `nimbus encryption rotate-dek`: encrypts every page of a file anew, under a key that did not exist before. */
import { dirname, resolve } from 'node:path'
import { type FlagSpec, parseFlags } from '../config/flags.js'
import { resolveEncryptionCommandConfig } from '../config/storage.js'
import { requireFileOrManifest } from '../encryption/check.js'
import { holdFile } from '../encryption/hold.js'
import { type DekResult, rotateDek } from '../encryption/rotate-dek.js'
import { backupOf } from '../encryption/rotation-backup.js'
import { ROTATION_ENDS } from '../encryption/settle-rotation.js'
import { openKeyProvider } from '../keys/open.js'
import { exists } from '../manifest/file.js'
import type { Command } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { printResults } from './results.js'
import { refuseServerFlags } from './server-flags.js'
import { SUBJECT_FLAGS, requireControlPlane, required, subjectOf } from './subject-flags.js'

const NAME = 'nimbus encryption rotate-dek'

const FLAGS: readonly FlagSpec[] = [
  { flag: '--path', value: '<path>', help: 'The encrypted database, which nobody has open.' },
  ...SUBJECT_FLAGS,
  { flag: '--skip-backup', value: null, help: 'Leave out the copy <path>.bak: you have a backup of your own.' },
]

export const encryptionRotateDek: Command = {
  usage: '--path <path> --provider <name> [--tenant-id <id>] [--skip-backup]',
  description:
    'Gives a database a new key of its own: keeps it and its manifest as <path>.bak, encrypts every page anew, and ' +
    'drops the old key when every page was seen to be under the new one. Stop the server first. A rotation that was ' +
    'interrupted is finished or undone by the next command on the file, or by the next start. A libsql-cache is removed and not ' +
    'rewritten: the server rebuilds it from the remote primary. The key that wraps it stays: ' +
    'that one is changed by rotate-kek.',
  sections: [{ title: 'Options', flags: FLAGS }],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, FLAGS)
    const path = required(NAME, flags, '--path')
    const subject = subjectOf(NAME, flags)
    requireControlPlane(NAME, subject, path)
    await requireFileOrManifest(path)
    const config = resolveEncryptionCommandConfig(context.env)
    const dataDirs = [config.dataDir, config.controlDataDir, dirname(resolve(path))]
    const provider = await openKeyProvider(config.encryption, dataDirs)
    const display = new ProgressDisplay(process.stderr)
    try {
      const held = holdFile(path)
      try {
        const skipBackup = flags.has('--skip-backup')
        const result = await interruptibly((signal) =>
          rotateDek(path, subject, { provider, skipBackup, signal, onProgress: display.update }),
        )
        display.end()
        printResults(
          'encryption rotate-dek',
          [{ path, outcome: result.outcome, note: await noteOf(path, result) }],
          context,
        )
        return 0
      } finally {
        held.release()
      }
    } finally {
      display.end()
      provider.close()
    }
  },
}

async function noteOf(path: string, { earlier }: DekResult): Promise<string | undefined> {
  const notes: string[] = []
  if (earlier !== undefined) notes.push(`Before: ${ROTATION_ENDS[earlier]}.`)
  if (await exists(backupOf(path))) {
    notes.push(`${backupOf(path)} is still under its old key: keep that key's manifest with it, or delete both.`)
  }
  return notes.length === 0 ? undefined : notes.join(' ')
}
