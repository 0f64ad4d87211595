/** `nimbus encryption verify`: authenticates every page of files at rest, for a job that runs every night. */
import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { type FlagSpec, parseFlags } from '../config/flags.js'
import { type CommandConfig, resolveEncryptionCommandConfig } from '../config/storage.js'
import { type DatabaseFile, listDatabaseFiles, subjectOfName } from '../encryption/directory.js'
import { holdDirectory, holdFile } from '../encryption/hold.js'
import { type VerifyResult, verifyFiles } from '../encryption/verify.js'
import { ERROR_CODES, fromSystemError } from '../errors.js'
import { openKeyProvider } from '../keys/open.js'
import type { Command } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { type FileResult, printResults } from './results.js'
import { refuseServerFlags } from './server-flags.js'
import { required } from './subject-flags.js'

const NAME = 'nimbus encryption verify'
/** Of the pages that are named: the rest is counted. */
const NAMED_PAGES = 20

const FLAGS: readonly FlagSpec[] = [
  {
    flag: '--path',
    value: '<path>',
    help: 'An encrypted database, or a directory: every database in it, and every backup.',
  },
]

export const encryptionVerify: Command = {
  usage: '--path <path>',
  description:
    'Authenticates every page of encrypted databases, and of the logs beside them, under the keys that their manifests hold; ' +
    'writes nothing. Ends with 0 if all of them are whole, else with 5, and names the files and pages. Pages that a crash left ' +
    'damaged and nothing uses are reported apart: they are no loss. A server that owns the directory has to be stopped, or a ' +
    'copy to be verified.',
  sections: [{ title: 'Options', flags: FLAGS }],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, FLAGS)
    const path = resolve(required(NAME, flags, '--path'))
    const config = resolveEncryptionCommandConfig(context.env)
    const isDirectory = await isDirectoryAt(path)
    const directory = isDirectory ? path : dirname(path)
    const provider = await openKeyProvider(config.encryption, [config.dataDir, config.controlDataDir, directory])
    const display = new ProgressDisplay(process.stderr)
    try {
      const held = isDirectory ? holdDirectory(path) : holdFile(path)
      try {
        const files = isDirectory ? await filesOf(path) : [expectedOf(path, config)]
        const results: VerifyResult[] = []
        await interruptibly(async (signal) => {
          for await (const result of verifyFiles(files, { provider, signal, onProgress: display.update })) {
            results.push(result)
          }
        })
        display.end()
        printResults('encryption verify', results.map(resultOf), context)
        const isWhole = results.every(({ outcome }) => outcome === 'sound' || outcome === 'empty')
        return isWhole ? 0 : ERROR_CODES.file_corrupt.exitCode
      } finally {
        held.release()
      }
    } finally {
      display.end()
      provider.close()
    }
  },
}

async function isDirectoryAt(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    throw fromSystemError(error, 'look at', path)
  }
}

/** Backups and migrated copies too: whatever a manifest lies beside, and whatever has a served name. */
async function filesOf(path: string): Promise<DatabaseFile[]> {
  const [tenants, control] = await Promise.all([
    listDatabaseFiles({ path, holds: 'tenants' }),
    listDatabaseFiles({ path, holds: 'control_plane' }),
  ])
  return [...tenants, ...control]
}

/** By its name, as in a directory; a file of a cache is named like one of SQLite. */
function expectedOf(path: string, { dataDir, controlDataDir }: CommandConfig): DatabaseFile {
  const isServed = [resolve(dataDir), resolve(controlDataDir)].includes(dirname(path))
  const name = basename(path)
  const expected = subjectOfName(name, 'tenants') ?? subjectOfName(name, 'control_plane')
  return { path, expected: isServed ? expected : undefined }
}

interface Row extends FileResult {
  readonly pages?: number
  readonly log_pages?: number
  readonly damaged_pages?: readonly number[]
  readonly unreferenced_pages?: readonly number[]
}

function resultOf(result: VerifyResult): Row {
  const { path, outcome } = result
  if (result.outcome === 'empty') return { path, outcome, note: 'the cache is rebuilt from the remote primary' }
  if (result.outcome === 'failed') {
    const { message, remediation } = result.error
    return { path, outcome, note: `${message}. ${remediation}` }
  }
  const { pages, logPages, damaged, unreferenced } = result.findings
  const notes = [
    damaged.length > 0 && `${named(damaged)} lost: restore the file and its manifest from the backup`,
    unreferenced.length > 0 && `${named(unreferenced)} damaged, and nothing uses them: a crash leaves such pages`,
  ].filter((note) => note !== false)
  return {
    path,
    outcome,
    pages,
    log_pages: logPages,
    damaged_pages: damaged,
    unreferenced_pages: unreferenced,
    ...(notes.length === 0 ? {} : { note: notes.join('; ') }),
  }
}

function named(pages: readonly number[]): string {
  const list = pages.slice(0, NAMED_PAGES).join(', ')
  const rest = pages.length > NAMED_PAGES ? ` and ${String(pages.length - NAMED_PAGES)} more` : ''
  return `${pages.length === 1 ? 'page' : 'pages'} ${list}${rest}`
}
