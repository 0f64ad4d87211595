/** `nimbus encryption verify`: authenticates every page of files, for a job that runs every night. */
import { stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type FlagSpec, parseFlags } from '../config/flags.js'
import { type CommandConfig, resolveEncryptionCommandConfig } from '../config/storage.js'
import { requireFileOrManifest } from '../encryption/check.js'
import { type DatabaseFile, listDatabaseFiles, subjectOfName } from '../encryption/directory.js'
import { type Held, holdDirectory, holdFile } from '../encryption/hold.js'
import { exitCodeOf, reportOf } from '../encryption/verify-report.js'
import { type VerifyResult, verifyFiles } from '../encryption/verify.js'
import { NimbusError, fromSystemError, systemErrorCode } from '../errors.js'
import { openKeyProvider } from '../keys/open.js'
import type { KeyProvider } from '../keys/provider.js'
import { URL_FLAG } from './admin-client.js'
import type { Command, Context } from './command.js'
import { interruptibly } from './interruption.js'
import { ProgressDisplay } from './progress.js'
import { printResults } from './results.js'
import { refuseServerFlags } from './server-flags.js'
import { required } from './subject-flags.js'
import { recordVerification, withoutLinks } from './verify-record.js'
import { RATE_FLAG, verifyByServer } from './verify-by-server.js'

const NAME = 'nimbus encryption verify'

const FLAGS: readonly FlagSpec[] = [
  {
    flag: '--path',
    value: '<path>',
    help: 'An encrypted database, or a directory: every database in it, and every backup.',
  },
]
const SERVER_FLAGS: readonly FlagSpec[] = [URL_FLAG, RATE_FLAG]

export const encryptionVerify: Command = {
  usage: '--path <path>',
  description:
    'Authenticates every page of encrypted databases, and of the logs beside them, under the keys that their manifests hold, and ' +
    'changes none of them; the control plane keeps when it was done. Ends with 0 if all of them are whole, with 5 if one is not, and names ' +
    'the files and pages; with the code of the cause if files could not be examined, with 5 if there is none. Pages that a crash left damaged and nothing uses are reported apart: they are no loss. A directory that a ' +
    'server owns is verified by that server, which goes on serving; the command asks it with the admin token, from NIMBUS_AUTH_TOKEN_FILE or ' +
    'its usual place, and waits for it.',
  sections: [
    { title: 'Options', flags: FLAGS },
    { title: 'For a directory that a server owns', flags: SERVER_FLAGS },
  ],
  async run(argv, context) {
    refuseServerFlags(NAME, argv)
    const flags = parseFlags(NAME, argv, [...FLAGS, ...SERVER_FLAGS])
    const given = resolve(required(NAME, flags, '--path'))
    const isDirectory = await isDirectoryAt(given)
    // Whose a file is, its directory tells, by whatever link one gets there.
    const path = isDirectory ? await withoutLinks(given) : join(await withoutLinks(dirname(given)), basename(given))
    if (!isDirectory) await requireFileOrManifest(path)
    const config = resolveEncryptionCommandConfig(context.env)
    const directory = isDirectory ? path : dirname(path)
    const provider = await openKeyProvider(config.encryption, [config.dataDir, config.controlDataDir, directory])
    try {
      const held = hold(path, isDirectory)
      if (held instanceof NimbusError) return await verifyByServer(path, held, flags, context)
      return await verifyAtRest(isDirectory ? path : await expectedOf(path, config), held, config, provider, context)
    } finally {
      provider.close()
    }
  },
}

async function verifyAtRest(
  target: string | DatabaseFile,
  held: Held,
  config: CommandConfig,
  provider: KeyProvider,
  context: Context,
): Promise<number> {
  const display = new ProgressDisplay(process.stderr)
  const results: VerifyResult[] = []
  try {
    const files = typeof target === 'string' ? await filesOf(target) : [target]
    await interruptibly(async (signal) => {
      for await (const result of verifyFiles(files, { provider, signal, onProgress: display.update })) {
        results.push(result)
      }
    })
  } finally {
    display.end()
    held.release()
  }
  const reports = results.map(reportOf)
  printResults('encryption verify', reports, context)
  await recordVerification(results, config, provider, context)
  return exitCodeOf(reports)
}

async function isDirectoryAt(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    // A file may be gone that left its manifest.
    if (systemErrorCode(error) === 'ENOENT') return false
    throw fromSystemError(error, 'look at', path)
  }
}

/** Why not, if it is a directory that somebody else works on: a server can be asked. */
function hold(path: string, isDirectory: boolean): Held | NimbusError {
  if (!isDirectory) return holdFile(path)
  try {
    return holdDirectory(path)
  } catch (error) {
    if (error instanceof NimbusError && error.code === 'file_busy') return error
    throw error
  }
}

/**
 * Backups and migrated copies too: whatever a manifest lies beside, and whatever has a served name.
 *
 * @throws `data_missing` if there is none: of a volume that is not mounted nothing is whole
 */
async function filesOf(path: string): Promise<DatabaseFile[]> {
  const [tenants, control] = await Promise.all([
    listDatabaseFiles({ path, holds: 'tenants' }),
    listDatabaseFiles({ path, holds: 'control_plane' }),
  ])
  const files = [...tenants, ...control]
  if (files.length > 0) return files
  throw new NimbusError('data_missing', `there is no database in ${path}: nothing was verified`, {
    path,
    remediation: 'Check the path, and that its volume is mounted.',
  })
}

/** By its name, as in a directory; a file of a cache is named like one of SQLite. */
async function expectedOf(path: string, { dataDir, controlDataDir }: CommandConfig): Promise<DatabaseFile> {
  const served = await Promise.all([dataDir, controlDataDir].map(withoutLinks))
  const isServed = served.includes(dirname(path))
  const name = basename(path)
  const expected = subjectOfName(name, 'tenants') ?? subjectOfName(name, 'control_plane')
  return { path, expected: isServed ? expected : undefined }
}
