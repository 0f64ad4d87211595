/** A disk on which the process is killed at a chosen moment: before, inside or after its n-th change. */
import { writeFileSync } from 'node:fs'
import { type Disk, nativeDisk } from '../../../src/manifest/file.js'

export type Moment = 'before' | 'inside' | 'after'

export interface MortalDisk extends Disk {
  /** A change of the disk that is not the manifest's, as the n-th of all. */
  step(change: (whole: boolean) => void): void
}

export function mortalDisk(killAt: number, moment: Moment): MortalDisk {
  let steps = 0
  const run = <T>(whole: () => T, half: () => void = () => undefined): T => {
    steps += 1
    if (steps !== killAt) return whole()
    if (moment === 'inside') half()
    if (moment === 'after') whole()
    return die()
  }
  return {
    createFileExclusive: (path, bytes) => run(() => nativeDisk.createFileExclusive(path, bytes)),
    // What is half done when a replacement stops: the temporary file, not yet renamed.
    replaceFile: (path, bytes) =>
      run(
        () => nativeDisk.replaceFile(path, bytes),
        () => writeFileSync(`${path}.tmp`, bytes.subarray(0, bytes.length / 2)),
      ),
    // Half done: some of the files renamed, one written in part.
    replaceFiles: (files) =>
      run(
        () => nativeDisk.replaceFiles(files),
        () => {
          const middle = files.length >> 1
          nativeDisk.replaceFiles(files.slice(0, middle))
          for (const { path, bytes } of files.slice(middle, middle + 1)) {
            writeFileSync(`${path}.tmp`, bytes.subarray(0, bytes.length / 2))
          }
        },
      ),
    removeFileDurably: (path) => run(() => nativeDisk.removeFileDurably(path)),
    step: (change) =>
      run(
        () => change(true),
        () => change(false),
      ),
  }
}

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable: the signal is delivered before kill(2) returns to this thread')
}
