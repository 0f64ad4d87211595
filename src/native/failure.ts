/** Turns every native failure into a `NimbusError`, a `StatementError` or a `TypeError`. */
import type * as Addon from '../../index.js'
import { NimbusError, type ErrorDetail, type NimbusErrorCode } from '../errors.js'

export type StatementErrorKind = 'expectation_failed' | 'constraint_unique' | 'constraint' | 'sql'

/** A statement was refused; the request it belonged to was undone. `step` counts from 0. */
export class StatementError extends Error {
  override readonly name = 'StatementError'
  readonly kind: StatementErrorKind
  readonly step: number

  constructor(kind: StatementErrorKind, step: number, message: string) {
    super(message)
    this.kind = kind
    this.step = step
  }
}

const NIMBUS_CODES: Readonly<Record<string, NimbusErrorCode>> = {
  data_missing: 'data_missing',
  disk_full: 'disk_full',
  file_busy: 'file_busy',
  file_corrupt: 'file_corrupt',
  io_error: 'io_error',
  key_malformed: 'key_malformed',
  key_missing: 'key_missing',
  kms_message: 'kms_unavailable',
  key_wrong: 'key_wrong',
  not_permitted: 'data_dir_unwritable',
  shutting_down: 'shutting_down',
  target_exists: 'target_exists',
}

export function guard<T>(call: () => T): T {
  try {
    return call()
  } catch (thrown) {
    if (!isFailure(thrown)) throw thrown
    throw fromFailure(thrown)
  }
}

export function fromFailure(failure: Addon.NativeFailure): Error {
  const { code, message, path, step, reason, bytes, ownerPid, ownerHost } = failure
  if (code === 'statement') return new StatementError(reason as StatementErrorKind, step ?? 0, message)
  if (code === 'invalid_argument' || code === 'closed_handle' || isArgumentStatus(code)) return new TypeError(message)
  const detail: ErrorDetail = {}
  if (reason !== undefined) detail['reason'] = reason
  if (bytes !== undefined) detail['bytes'] = bytes
  if (ownerPid !== undefined) detail['owner_pid'] = ownerPid
  if (ownerHost !== undefined) detail['owner_host'] = ownerHost
  return new NimbusError(NIMBUS_CODES[code] ?? 'internal', message, { path, detail })
}

function isFailure(thrown: unknown): thrown is Addon.NativeFailure {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
}

/** What Node-API and napi-rs say of an argument of the wrong type: `InvalidArg`, `StringExpected` and so on. */
const isArgumentStatus = (code: string): boolean => code === 'InvalidArg' || code.endsWith('Expected')
