/** One verification of every encrypted file of a server at a time, in the background: what it has found, and how far it is. */
import { realpathSync } from 'node:fs'
import type { ControlPlane } from '../control/control-plane.js'
import { type DataDirectory, type DatabaseFile, listDatabaseFiles } from '../encryption/directory.js'
import type { Progress } from '../encryption/progress.js'
import { readFileStatus } from '../encryption/status.js'
import { type VerifyReport, defectOf, isWhole, reportOf } from '../encryption/verify-report.js'
import { type VerifyResult, verifyFiles } from '../encryption/verify.js'
import { NimbusError, toNimbusError } from '../errors.js'
import type { KeyProvider } from '../keys/provider.js'
import { describe } from '../keys/subject.js'
import type { Findings, VerifyOptions } from '../native.js'
import type { TenantProvider } from '../tenants/contract.js'
import { subjectOf } from './recorded-tenants.js'

export interface VerificationOptions {
  readonly tenants: Pick<TenantProvider, 'name' | 'verify'>
  readonly control: Pick<ControlPlane, 'path' | 'files' | 'verify'>
  /** Undefined if encryption is off. */
  readonly keys: KeyProvider | undefined
  readonly directories: readonly DataDirectory[]
  readonly warn: (what: string) => void
}

/** The body of `GET` and `POST /debug/encryption/verify`. */
export interface VerificationState {
  /** Which run since the server was started; 0 before the first. */
  readonly run: number
  readonly state: 'none' | 'running' | 'done' | 'stopped'
  readonly started_at: string | null
  readonly ended_at: string | null
  /** Without links on the way to them. */
  readonly directories: readonly string[]
  readonly bytes_per_second: number | null
  readonly files: number
  readonly files_done: number
  /** Files that are not whole. */
  readonly failures: number
  /** What is being read now. */
  readonly current: { readonly path: string; readonly done_bytes: number; readonly total_bytes: number } | null
  /** Of the files that are done, from the one that was asked for on. */
  readonly results: readonly VerifyReport[]
  readonly has_more: boolean
}

const RESULTS_AT_A_TIME = 1_000

interface Run {
  readonly number: number
  readonly startedAt: string
  readonly bytesPerSecond: number
  readonly results: VerifyReport[]
  state: 'running' | 'done' | 'stopped'
  endedAt: string | null
  files: number
  filesDone: number
  current: { readonly path: string; readonly progress: Progress } | undefined
}

export class BackgroundVerification {
  readonly #options: VerificationOptions
  readonly #directories: readonly string[]
  readonly #stopping = new AbortController()
  #run: Run | undefined
  #ended: Promise<void> = Promise.resolve()

  constructor(options: VerificationOptions) {
    this.#options = options
    this.#directories = [...new Set(options.directories.map(({ path }) => realpathSync(path)))]
  }

  /** Begins a run, unless one is under way. @throws `encryption_not_configured`, `shutting_down` */
  begin(bytesPerSecond: number): VerificationState {
    const { keys } = this.#options
    if (keys === undefined) {
      throw new NimbusError('encryption_not_configured', 'encryption is off: there is nothing to authenticate')
    }
    if (this.#stopping.signal.aborted) throw new NimbusError('shutting_down', 'the server is stopping')
    if (this.#run?.state !== 'running') {
      const run: Run = {
        number: (this.#run?.number ?? 0) + 1,
        startedAt: new Date().toISOString(),
        bytesPerSecond,
        results: [],
        state: 'running',
        endedAt: null,
        files: 0,
        filesDone: 0,
        current: undefined,
      }
      this.#run = run
      this.#ended = this.#perform(run, keys)
    }
    return this.state(0)
  }

  state(after: number): VerificationState {
    const run = this.#run
    const results = run?.results ?? []
    const shown = results.slice(after, after + RESULTS_AT_A_TIME)
    const current = run?.current
    return {
      run: run?.number ?? 0,
      state: run?.state ?? 'none',
      started_at: run?.startedAt ?? null,
      ended_at: run?.endedAt ?? null,
      directories: this.#directories,
      bytes_per_second: run?.bytesPerSecond ?? null,
      files: run?.files ?? 0,
      files_done: run?.filesDone ?? 0,
      failures: results.filter((result) => !isWhole(result)).length,
      current: current
        ? { path: current.path, done_bytes: current.progress.doneBytes, total_bytes: current.progress.totalBytes }
        : null,
      results: shown,
      has_more: after + shown.length < results.length,
    }
  }

  /** Ends a run that is under way, and waits for its end. */
  async stop(): Promise<void> {
    this.#stopping.abort(new NimbusError('shutting_down', 'the server is stopping'))
    await this.#ended
  }

  /** Never rejects: what cannot be examined is a result, and what fails besides is said in the log. */
  async #perform(run: Run, keys: KeyProvider): Promise<void> {
    const { signal } = this.#stopping
    let end: 'done' | 'stopped' = 'stopped'
    try {
      const files = (await Promise.all(this.#options.directories.map(listDatabaseFiles))).flat()
      run.files = files.length
      // The control plane is always there, unless the volume is not.
      if (files.length === 0) {
        throw new NimbusError('data_missing', `there is no database in ${this.#directories.join(' and ')}`)
      }
      for (const file of files) {
        const result = await this.#examine(file, run, keys)
        if (signal.aborted) break
        if (result !== undefined) run.results.push(reportOf(result))
        run.filesDone += 1
      }
      if (!signal.aborted) end = 'done'
    } catch (error) {
      if (!signal.aborted) this.#options.warn(`the verification ended early: ${toNimbusError(error).message}`)
    }
    run.current = undefined
    run.state = end
    run.endedAt = new Date().toISOString()
  }

  /** Undefined for a tenant that was deleted meanwhile. */
  async #examine(file: DatabaseFile, run: Run, keys: KeyProvider): Promise<VerifyResult | undefined> {
    const { path, expected } = file
    const { signal } = this.#stopping
    const { bytesPerSecond } = run
    const onProgress = (progress: Progress): void => {
      run.current = { path, progress }
    }
    const served = this.#servedBy(file)
    if (served === undefined || expected === undefined) {
      // A backup, a migrated copy, another provider's file: nobody has it open.
      const work = { provider: keys, signal, bytesPerSecond, onProgress: (_: string, at: Progress) => onProgress(at) }
      for await (const result of verifyFiles([file], work)) return result
      return undefined
    }
    const seen = await readFileStatus(path, { expected, served: 'encrypted' })
    const result = await resultFrom(path, served({ signal, bytesPerSecond, onProgress }))
    if (signal.aborted || (result.outcome === 'failed' && result.error.code === 'tenant_not_found')) return undefined
    const defect = defectOf(result)
    if (defect !== undefined) this.#options.warn(`${path}: ${defect}`)
    if (defect !== undefined || isWhole(result)) {
      try {
        await this.#options.control.files.verified(describe(expected), seen, defect ?? null)
      } catch (error) {
        // A control plane on a full disk hides nothing of the files: they are examined, and reported, all the same.
        this.#options.warn(`${path}: its verification could not be recorded: ${toNimbusError(error).message}`)
      }
    }
    return result
  }

  /** How a file is verified that the server serves, and so has open or may open at any time: never by opening it a second time. */
  #servedBy({ path, expected }: DatabaseFile): ((options: VerifyOptions) => Promise<Findings>) | undefined {
    const { tenants, control } = this.#options
    if (expected === undefined) return undefined
    if (expected.family === 'control_plane') {
      return path === control.path ? (options) => control.verify(options) : undefined
    }
    const { tenant } = expected
    const own = subjectOf(tenants.name, tenant)
    if (own === undefined || describe(own) !== describe(expected)) return undefined
    return (options) => tenants.verify(tenant, options)
  }
}

async function resultFrom(path: string, work: Promise<Findings>): Promise<VerifyResult> {
  try {
    const findings = await work
    return { path, outcome: findings.damaged.length === 0 ? 'sound' : 'damaged', findings }
  } catch (error) {
    return { path, outcome: 'failed', error: toNimbusError(error) }
  }
}
