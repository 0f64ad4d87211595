/** Long work on whole files, on native threads: with progress, and told to stop by a signal. */
import type * as Addon from '../../index.js'
import { fromFailure, guard } from './failure.js'
import { keepAlive } from './requests.js'

export interface WorkOptions {
  /** Aborted: the work stops as soon as it can and rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { phase: string; doneBytes: number; totalBytes: number }) => void) | undefined
}

/** What `longWork` rejects with when a file is under another key: an answer, not a failure. */
export const OTHER_KEY = new Error('the file is under another key')

/** Work on a native thread, from its beginning to its last event, which is the answer. */
export async function longWork(
  { signal, onProgress }: WorkOptions,
  begin: (onEvent: (event: Addon.NativeWorkEvent) => void) => Addon.NativeWork,
): Promise<Addon.NativeWorkEvent> {
  signal?.throwIfAborted()
  keepAlive.hold()
  let cancel: (() => void) | undefined
  try {
    const last = await new Promise<Addon.NativeWorkEvent>((resolve) => {
      const work = guard(() =>
        begin((event) => {
          const { ended, phase = '', doneBytes = 0, totalBytes = 0 } = event
          if (ended) resolve(event)
          else onProgress?.({ phase, doneBytes, totalBytes })
        }),
      )
      cancel = () => work.cancel()
      signal?.addEventListener('abort', cancel)
    })
    const { failure } = last
    if (failure === undefined) return last
    if (failure.code === 'interrupted') signal?.throwIfAborted()
    if (failure.code === 'other_key') throw OTHER_KEY
    throw fromFailure(failure)
  } finally {
    if (cancel !== undefined) signal?.removeEventListener('abort', cancel)
    keepAlive.release()
  }
}

/** What an examination of every page found. */
export interface Findings {
  pages: number
  logPages: number
  /** Pages that are lost. */
  damaged: readonly number[]
  /** Pages that do not authenticate and are not missed. */
  unreferenced: readonly number[]
}

export interface VerifyOptions extends WorkOptions {
  /** At most so many are read in a second, on one thread, so that disk and processors are left to others; infinite: on all. */
  bytesPerSecond: number
}

/** The findings of an examination. */
export async function found(work: Promise<Addon.NativeWorkEvent>): Promise<Findings> {
  const { findings } = await work
  if (findings === undefined) throw new TypeError('an examination ended without findings')
  return findings
}
