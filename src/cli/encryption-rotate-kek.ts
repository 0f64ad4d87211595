/** `nimbus encryption rotate-kek`: wraps the keys of files under another KEK; what it wrapped is seen to open before the old goes. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseFlags, type FlagSpec, type ParsedFlags } from '../config/flags.js'
import { NEW_KEY_FLAGS, resolveNewEncryption } from '../config/new-key.js'
import { resolveEncryptionCommandConfig } from '../config/storage.js'
import { requireFileOrManifest } from '../encryption/check.js'
import { listDirectories, listManifestFiles } from '../encryption/directory.js'
import { holdDirectory, holdFile } from '../encryption/hold.js'
import { rotateKek, type KekResult, type KekRotation } from '../encryption/rotate-kek.js'
import { NimbusError, fromSystemError, systemErrorCode } from '../errors.js'
import { openKeyProvider } from '../keys/open.js'
import { exists, manifestPathOf } from '../manifest/file.js'
import type { Command, Context } from './command.js'
import { interruptibly } from './interruption.js'
import { printResults, type FileResult } from './results.js'
import { refuseServerFlags } from './server-flags.js'

const NAME = 'nimbus encryption rotate-kek'

const FLAGS: readonly FlagSpec[] = [
  { flag: '--path', value: '<path>', help: 'The protected database file; with --all, a directory of them.' },
  { flag: '--all', value: null, help: 'Every manifest in the directory, those of backups (.bak) too.' },
  {
    flag: '--recursive',
    value: null,
    help: 'With --all: in the directories below it as well; links are not followed.',
  },
  { flag: '--dry-run', value: null, help: 'Do everything but write: say what would be rotated, and what would fail.' },
]

export const encryptionRotateKek: Command = {
  usage: '--path <path> [--all [--recursive]] <new key> [--dry-run]',
  description:
    'Replaces the key that wraps the keys of files: only manifests change, in one step each. The environment ' +
    '(NIMBUS_ENCRYPTION_...) or the file that NIMBUS_CONFIG names says which key is the present one. Files under the new ' +
    'key already are skipped, so the same command finishes what was interrupted. A file that fails is left as it was and does ' +
    'not stop the rest; the command then ends with 1. Refused while a server owns the directory.',
  sections: [
    { title: 'Options', flags: FLAGS },
    { title: 'New key', flags: NEW_KEY_FLAGS },
  ],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, [...FLAGS, ...NEW_KEY_FLAGS])
    const target = targetOf(flags)
    const config = resolveEncryptionCommandConfig(context.env)
    const newKey = resolveNewEncryption(flags)
    const where = await directoryOf(target)
    const dataDirs = [config.dataDir, config.controlDataDir, where]
    const from = await openKeyProvider(config.encryption, dataDirs)
    try {
      const to = await openKeyProvider(newKey, dataDirs)
      try {
        for (const warning of to.warnings) context.warn(warning, 'Nobody else should be able to read the new key.')
        await to.health?.()
        const isDryRun = flags.has('--dry-run')
        return await interruptibly((signal) => rotate(target, { from, to, isDryRun, signal }, context))
      } finally {
        to.close()
      }
    } finally {
      from.close()
    }
  },
}

interface Target {
  readonly path: string
  readonly all: boolean
  readonly recursive: boolean
}

function targetOf(flags: ParsedFlags): Target {
  const path = flags.get('--path')
  const target = { all: flags.has('--all'), recursive: flags.has('--recursive') }
  if (typeof path !== 'string') throw usage('--path is not given')
  if (target.recursive && !target.all) throw usage('--recursive goes with --all')
  return { path, ...target }
}

/** The directory whose files are rotated, which is no place for a key. */
async function directoryOf({ path, all }: Target): Promise<string> {
  const isDirectory = await stat(path).then(
    (stats) => stats.isDirectory(),
    (error: unknown) => {
      // A file may be missing while its manifest is there, and that can be rotated.
      if (systemErrorCode(error) === 'ENOENT') return false
      throw fromSystemError(error, 'look at', path)
    },
  )
  if (all && !isDirectory) throw usage(`--all needs a directory, and ${path} is none`)
  if (!all && isDirectory) throw usage(`${path} is a directory: give --all to rotate every manifest in it`)
  return all ? path : dirname(path)
}

async function rotate(target: Target, rotation: KekRotation, context: Context): Promise<number> {
  const report = new Report(context)
  try {
    if (target.all) await rotateDirectories(target, rotation, report)
    else await rotateFile(target.path, rotation, report)
  } finally {
    report.print()
  }
  return report.hasFailures ? 1 : 0
}

async function rotateFile(path: string, rotation: KekRotation, report: Report): Promise<void> {
  await requireFileOrManifest(path)
  const held = holdFile(path)
  try {
    for await (const result of rotateKek([path], rotation)) {
      if (result.error !== undefined) throw result.error
      report.add(result, await noteOfBackup(result))
    }
  } finally {
    held.release()
  }
}

async function noteOfBackup({ path, outcome }: KekResult): Promise<string | undefined> {
  if (outcome !== 'rotated' || !(await exists(manifestPathOf(`${path}.bak`)))) return undefined
  return `its backup ${path}.bak is still wrapped by the old key: rotate it too before that key goes`
}

async function rotateDirectories({ path, recursive }: Target, rotation: KekRotation, report: Report): Promise<void> {
  for (const directory of recursive ? await listDirectories(path) : [path]) {
    const files = await listManifestFiles(directory)
    if (files.length === 0) continue
    try {
      const held = holdDirectory(directory)
      try {
        for await (const result of rotateKek(files, rotation)) report.add(result)
      } finally {
        held.release()
      }
    } catch (error) {
      if (!recursive || !(error instanceof NimbusError)) throw error
      report.add({ path: directory, outcome: 'failed', error })
    }
  }
}

/** Tells people of each file as it is done, and programs of all of them at the end. */
class Report {
  readonly #context: Context
  readonly #results: FileResult[] = []

  constructor(context: Context) {
    this.#context = context
  }

  add({ path, outcome, error }: KekResult, note?: string): void {
    const result = { path, outcome, note: error === undefined ? note : `${error.message}. ${error.remediation}` }
    this.#results.push(result)
    if (this.#context.format === 'human') printResults('encryption rotate-kek', [result], this.#context)
  }

  print(): void {
    const { format, warn } = this.#context
    if (format === 'json') printResults('encryption rotate-kek', this.#results, this.#context)
    else if (this.#count('rotated') > 0) {
      warn(
        `${this.#count('rotated') + this.#count('skipped')} of ${this.#results.length} manifests are under the new key`,
        'Configure the new key for every start and command from now on.',
      )
    }
  }

  get hasFailures(): boolean {
    return this.#count('failed') > 0
  }

  #count(outcome: KekResult['outcome']): number {
    return this.#results.filter((result) => result.outcome === outcome).length
  }
}

function usage(message: string): NimbusError {
  return new NimbusError('usage', message, { remediation: `Run \`${NAME} --help\`.` })
}
