/** A process whose changes of a directory are recorded. */
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Environment } from '../support/cli.js'
import { temporaryDirectory } from '../support/directory.js'
import { type PowerCut, type Recorded, type Snapshot, parseRecord, powerCuts, snapshotOf } from './disk.js'

const SOURCE = fileURLToPath(new URL('./recorder.c', import.meta.url))

export interface Recording {
  /** Has a process record what it does. */
  readonly env: Environment
  /** Notes in the record that something was seen by now. */
  say(what: string): void
  /** Every state that a power cut may have left, as directories of their own; fails when there was nothing to lose. */
  states(changed?: (record: Recorded) => boolean): State[]
}

export interface State extends PowerCut {
  /** Makes a directory so, with a path of its own. */
  materialise(): string
}

/** Records from now on what processes with this environment do to the files right in `directory`. */
export function recordingOf(directory: string): Recording {
  const place = temporaryDirectory()
  const library = path.join(place, 'recorder.so')
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', '-o', library, SOURCE])
  const log = path.join(place, 'record')
  const before: Snapshot = snapshotOf(directory)
  return {
    env: { LD_PRELOAD: library, NIMBUS_RECORD_ROOT: directory, NIMBUS_RECORD_LOG: log },
    say: (what) => appendFileSync(log, `say 0 0 0 ${what}\t\n`),
    states: (isKept = () => true) => {
      if (!existsSync(log)) throw new Error('nothing was recorded')
      const records = parseRecord(readFileSync(log)).filter(isKept)
      return [...powerCuts(before, records)].map((cut) => ({ ...cut, materialise: () => materialise(cut, directory) }))
    },
  }
}

function materialise({ files }: PowerCut, directory: string): string {
  const place = path.join(temporaryDirectory(), path.basename(directory))
  mkdirSync(place, { mode: 0o700 })
  for (const [file, bytes] of files)
    writeFileSync(path.join(place, path.relative(directory, file)), bytes, { mode: 0o600 })
  return place
}
