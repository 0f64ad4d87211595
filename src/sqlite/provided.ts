/**
 * A file whose key a provider wraps, on its way to SQLite: its locks, its manifest, its DEK.
 *
 * Exclusively: everything happens under `<file>.nimbus-lock`, which stays held until the database is closed. Shared: others may have the
 * file open, so the data file is not opened here (closing any descriptor of it would drop SQLite's locks); what is to be made or
 * settled is done under the exclusive lock first.
 *
 * | killed after            | on the disk                                | the next opening             |
 * |-------------------------|--------------------------------------------|------------------------------|
 * | the manifest is written | manifest `creating`                        | removes it, and makes both   |
 * | SQLite made the file    | manifest `creating`, the file, in any part | removes both, and makes both |
 * | `activate`              | manifest `active`, the file                | opens it                     |
 */
import { basename, extname } from 'node:path'
import { NimbusError } from '../errors.js'
import { checkProtectedAtOnce, createProtectedAtOnce, openProtectedAtOnce } from '../encryption/at-once.js'
import { checkProtected, dataMissing } from '../encryption/check.js'
import { type Held, holdFile, shareFile } from '../encryption/hold.js'
import { activate, createProtected, openProtected, type Protected } from '../encryption/protect.js'
import { type SqlcipherProfile, sqlcipherProfile } from '../keys/profile.js'
import type { ImmediateKeys, KeyProvider } from '../keys/provider.js'
import { quote } from '../keys/quote.js'
import { type FileSubject, isTenantId } from '../keys/subject.js'
import { type Disk, existsAtOnce, manifestPathOf, nativeDisk } from '../manifest/file.js'
import { library } from '../native.js'
import { openNative, type OpenFlags } from './key.js'
import { SqliteError } from './sqlite-error.js'
import { type Procedure, settled } from './waiting.js'

export interface ProvidedRequest {
  readonly path: string
  /** Whose file it is; without it, the file's name before its extension. */
  readonly name: string | undefined
  /** Of a file that is made; one that is there has its own. */
  readonly profile: SqlcipherProfile | undefined
  readonly flags: OpenFlags
}

/** What a provider does for one file, now or later. */
export interface Custody {
  /** Settles what was interrupted; `undefined` if there is no file after all. */
  check(): Protected | undefined | Promise<Protected | undefined>
  /** Of a settled file; does not look at the data. */
  open(): Protected | Promise<Protected>
  create(): Protected | Promise<Protected>
}

/** As the server's files. */
const DEFAULT_PROFILE = 'sqlcipher-4-sha256'

/** A file with its DEK, and the locks under which it is used. */
export class ProvidedFile {
  readonly isNew: boolean
  readonly #held: Held
  readonly #disk: Disk
  #file: Protected

  constructor(file: Protected, isNew: boolean, held: Held, disk: Disk = nativeDisk) {
    this.#disk = disk
    this.#file = file
    this.isNew = isNew
    this.#held = held
  }

  get file(): Protected {
    return this.#file
  }

  get profile(): SqlcipherProfile {
    return sqlcipherProfile(this.#file.profile)
  }

  /** The data has been made. */
  activate(): void {
    this.#file = activate(this.#file, this.#disk)
  }

  /** Once nobody has the data open. */
  release(): void {
    this.#file.dek.close()
    this.#held.release()
  }
}

export function custodyOf(request: ProvidedRequest, provider: KeyProvider): Custody {
  const { path } = request
  const subject = subjectOf(request)
  return {
    check: () => checkProtected(path, subject, provider),
    open: () => openProtected(path, subject, provider),
    create: () => createProtected(path, subject, provider, request.profile ?? DEFAULT_PROFILE),
  }
}

/** With a provider that does not have to be waited for. A pending rotation is `file_busy`: to settle it takes a while. */
export function custodyAtOnceOf(
  request: ProvidedRequest,
  given: KeyProvider,
  atOnce: ImmediateKeys,
  disk: Disk = nativeDisk,
): Custody {
  const { path } = request
  const subject = subjectOf(request)
  const provider = { kind: given.kind, describe: () => given.describe(), atOnce }
  return {
    check: () => checkProtectedAtOnce(path, subject, provider, disk),
    open: () => openProtectedAtOnce(path, subject, provider),
    create: () => createProtectedAtOnce(path, subject, provider, request.profile ?? DEFAULT_PROFILE, disk),
  }
}

/**
 * Makes or settles the file as far as that is to be done, and hands out its key.
 *
 * @throws NimbusError: `file_busy`, `data_missing`, `manifest_missing`, `manifest_altered`, `manifest_mismatch`, `file_corrupt`,
 * `config_invalid` for another profile, and those of the provider.
 */
export function* provide(request: ProvidedRequest, custody: Custody, disk: Disk = nativeDisk): Procedure<ProvidedFile> {
  const { path, flags } = request
  if (flags.readonly) return yield* opened(request, custody, flags.exclusive ? holdFile(path) : shareFile(path))
  if (flags.exclusive) return yield* checkedOrMade(request, custody, disk)
  try {
    return yield* opened(request, custody, shareFile(path))
  } catch (error) {
    if (!isUnsettled(error)) throw error
  }
  makeFile(yield* checkedOrMade(request, custody, disk), request)
  return yield* opened(request, custody, shareFile(path))
}

function* opened(request: ProvidedRequest, custody: Custody, held: Held): Procedure<ProvidedFile> {
  try {
    const file = yield* settled(custody.open())
    if (!existsAtOnce(request.path)) throw closing(file, dataMissing(request.path))
    return new ProvidedFile(withProfile(file, request), false, held)
  } catch (error) {
    held.release()
    throw error
  }
}

function* checkedOrMade(request: ProvidedRequest, custody: Custody, disk: Disk): Procedure<ProvidedFile> {
  const { path, flags } = request
  const held = holdFile(path)
  try {
    const isThere = existsAtOnce(path) || existsAtOnce(manifestPathOf(path))
    const file = isThere ? yield* settled(custody.check()) : undefined
    if (file !== undefined) return new ProvidedFile(withProfile(file, request), false, held)
    if (flags.mustExist) throw dataMissing(path)
    return new ProvidedFile(yield* settled(custody.create()), true, held, disk)
  } catch (error) {
    held.release()
    throw error
  }
}

/** Makes the data if that is to be done, and lets the file go. */
function makeFile(provided: ProvidedFile, { path, flags }: ProvidedRequest): void {
  try {
    if (provided.isNew) library.close(openProvided(path, { ...flags, exclusive: true }, provided))
  } finally {
    provided.release()
  }
}

/** Opens the data, which is made first if the file is new: a handle. @throws `file_corrupt`; SqliteError */
export function openProvided(path: string, flags: OpenFlags, provided: ProvidedFile): number {
  const { file, profile, isNew } = provided
  const given = { dek: file.dek, fileId: file.fileId, profile }
  // What is only read has no lock of SQLite's that could be kept: its `.nimbus-lock` excludes the others.
  const exclusive = flags.exclusive && !flags.readonly
  const opened = { ...flags, exclusive, isNew, mustExist: true }
  const handle = blamingFile(path, () => openNative(path, opened, given, undefined))
  if (!isNew) return handle
  try {
    provided.activate()
    return handle
  } catch (error) {
    library.close(handle)
    throw error
  }
}

/** The manifest has said that the key is right: what SQLite does not like then is the file. */
function blamingFile<T>(path: string, open: () => T): T {
  try {
    return open()
  } catch (error) {
    if (!(error instanceof SqliteError) || !['SQLITE_NOTADB', 'SQLITE_CORRUPT'].includes(error.code)) throw error
    const remediation = 'Restore the file, its manifest and its log together from the backup.'
    throw new NimbusError('file_corrupt', `${path} is damaged: ${error.message}`, { path, remediation, cause: error })
  }
}

function subjectOf({ path, name }: ProvidedRequest): FileSubject {
  const tenant = name ?? basename(path, extname(path))
  if (isTenantId(tenant)) return { family: 'sqlite_tenant', tenant }
  throw new NimbusError('invalid_tenant_id', `${quote(tenant)} cannot be the name of a file with a key provider`, {
    path,
    remediation: 'Give the option "name": 1 to 48 of a-z, 0-9, _ and -, the first a letter or a digit.',
  })
}

/** Whose file it is, as commands are told. */
export function ownerOf({ manifest: { subject } }: Protected): string {
  return 'tenant' in subject ? subject.tenant : ''
}

function withProfile(file: Protected, { path, profile }: ProvidedRequest): Protected {
  if (profile === undefined || profile === file.profile) return file
  const message = `${path} was made with the profile ${file.profile}, not ${profile}`
  throw closing(file, new NimbusError('config_invalid', message, { path, remediation: 'Leave the profile out.' }))
}

function closing(file: Protected, error: NimbusError): NimbusError {
  file.dek.close()
  return error
}

/** There is no such file yet, or something was interrupted. */
function isUnsettled(error: unknown): boolean {
  if (!(error instanceof NimbusError)) return false
  const isRotating = error.code === 'file_busy' && error.detail['owner_pid'] === undefined
  return error.code === 'manifest_missing' || error.code === 'data_missing' || isRotating
}
