/** `nimbus encryption migrate`: an encrypted copy of a plaintext database, published when it is whole. */
import { basename, dirname, resolve } from 'node:path'
import { type FlagSpec, type ParsedFlags, parseFlags } from '../config/flags.js'
import { resolveEncryptionCommandConfig } from '../config/storage.js'
import { type Migrated, isMigratable, migrate } from '../encryption/migrate.js'
import { openKeyProvider } from '../keys/open.js'
import { type Profile, cipherOfFamily, cipherOfProfile, isProfile } from '../keys/profile.js'
import { type FileSubject, servedName } from '../keys/subject.js'
import type { Command, Context } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { printResults } from './results.js'
import { refuseServerFlags } from './server-flags.js'
import { SUBJECT_FLAGS, requireControlPlane, required, subjectOf, usage } from './subject-flags.js'

const NAME = 'nimbus encryption migrate'
const DEFAULT_PROFILES = { sqlcipher: 'sqlcipher-4-sha256', 'aes-256-gcm-siv': 'sealed-redb-1' } as const

const FLAGS: readonly FlagSpec[] = [
  { flag: '--source', value: '<path>', help: 'The plaintext database, which nobody has open.' },
  { flag: '--target', value: '<path>', help: 'The encrypted copy: <source>.encrypted if left out. It must not exist.' },
  ...SUBJECT_FLAGS,
  {
    flag: '--profile',
    value: '<name>',
    help: 'The parameters of the cipher: sqlcipher-4-sha256 (faster, the default) or sqlcipher-4 (the defaults of SQLCipher 4).',
  },
  { flag: '--skip-validation', value: null, help: 'Do not read both files again to compare them.' },
  {
    flag: '--retire-source',
    value: null,
    help: 'Remove the plaintext, and what SQLite keeps beside it, when all is done.',
  },
]

export const encryptionMigrate: Command = {
  usage: '--source <path> --provider <name> --tenant-id <id> [options]',
  description:
    'Copies a plaintext database into a new file that is encrypted under a key of its own, whose manifest lies beside it. ' +
    'Stop the server first. The copy is complete, compared with the source and on the disk before anybody can open it. The ' +
    'source stays as it is; rename the copy and its manifest to its name to serve it. A migration that was ' +
    'interrupted is undone, or finished, by the next one of the same source.',
  sections: [{ title: 'Options', flags: FLAGS }],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, FLAGS)
    const source = required(NAME, flags, '--source')
    const target = flags.get('--target')
    const subject = subjectOf(NAME, flags)
    requireControlPlane(NAME, subject, source)
    const profile = profileOf(flags, subject)
    const config = resolveEncryptionCommandConfig(context.env)
    if (!(await isMigratable(source))) throw usage(NAME, `--source ${source} does not exist`)
    const dataDirs = [config.dataDir, config.controlDataDir, dirname(resolve(source))]
    const keys = await openKeyProvider(config.encryption, dataDirs)
    const display = new ProgressDisplay(process.stderr)
    try {
      const migrated = await interruptibly((signal) =>
        migrate({
          source,
          target: typeof target === 'string' ? target : undefined,
          subject,
          profile,
          keys,
          validate: !flags.has('--skip-validation'),
          retireSource: flags.has('--retire-source'),
          signal,
          onProgress: display.update,
        }),
      )
      display.end()
      print(migrated, subject, context)
      return 0
    } finally {
      display.end()
      keys.close()
    }
  },
}

function print(
  { source, target, outcome, undone, isSourceThere }: Migrated,
  subject: FileSubject,
  context: Context,
): void {
  const before = undone ? 'An interrupted migration was undone first. ' : ''
  const sourceNote = isSourceThere
    ? `The plaintext ${source} is still there.`
    : outcome === 'finished'
      ? `The plaintext ${source} is removed, as an interrupted migration was about to do.`
      : `The plaintext ${source} is removed.`
  const served = servedName(subject)
  const rename = basename(target) === served ? '' : ` To serve the copy, rename it and its manifest to ${served}.`
  printResults('encryption migrate', [{ path: target, outcome, note: `${before}${sourceNote}${rename}` }], context)
}

function profileOf(flags: ParsedFlags, { family }: FileSubject): Profile {
  const cipher = cipherOfFamily(family)
  const given = flags.get('--profile') ?? DEFAULT_PROFILES[cipher]
  if (typeof given === 'string' && isProfile(given) && cipherOfProfile(given) === cipher) return given
  throw usage(NAME, `--profile must be one that fits the file, such as ${DEFAULT_PROFILES[cipher]}`)
}
