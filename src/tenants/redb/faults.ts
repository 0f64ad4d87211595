/** What failures of an open redb file mean for its tenant. */
import { NimbusError } from '../../errors.js'
import { TenantSpentError } from '../open-tenant.js'

/**
 * An open redb file that could not read or write something will not do anything else from then on: it has to be opened anew. So
 * whoever meets damage is told of it, and those who only came after it try again.
 */
export class Faults {
  readonly #path: string
  #cause: NimbusError | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** The first failure after which the file must be opened anew. */
  get cause(): NimbusError | undefined {
    return this.#cause
  }

  /** What to tell whoever read: reading changes nothing, so that what fails for another's failure can be read again. */
  ofRead(error: unknown): unknown {
    const failure = this.#note(error)
    return failure instanceof NimbusError && failure.code === 'io_error' ? new TenantSpentError(failure) : failure
  }

  /** What to tell those whose write failed: it may have happened. */
  ofWrite(error: unknown): unknown {
    return this.#note(error)
  }

  #note(error: unknown): unknown {
    if (!(error instanceof NimbusError)) return error
    const { code, message, path } = error
    // redb gives up with a panic, caught below, over contents that it did not write.
    const failure =
      code === 'internal' && path !== undefined
        ? new NimbusError('file_corrupt', `${this.#path} is damaged: ${message}`, { path: this.#path, cause: error })
        : error
    if (SPENDING.some((spending) => spending === failure.code)) this.#cause ??= failure
    return failure
  }
}

const SPENDING = ['io_error', 'disk_full', 'file_corrupt', 'data_dir_unwritable'] as const
