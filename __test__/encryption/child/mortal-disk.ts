/** A disk on which the process is killed at a chosen moment: before, inside or after its n-th change. */
import { readFileSync, writeFileSync } from 'node:fs'
import { type RekeyEngine, nativeEngine } from '../../../src/encryption/rekey-engine.js'
import { type Disk, nativeDisk } from '../../../src/manifest/file.js'

export type Moment = 'before' | 'inside' | 'after'

export interface MortalDisk extends Disk {
  /** A change of the disk that is not the manifest's, as the n-th of all. */
  step(change: (whole: boolean) => void): void
  /** What the engines do, as changes of this disk; inside is at the first news of how far it is. */
  readonly engine: RekeyEngine
}

export function mortalDisk(killAt: number, moment: Moment): MortalDisk {
  let steps = 0
  const isHere = (): boolean => {
    steps += 1
    return steps === killAt
  }
  const run = <T>(whole: () => T, half: () => void = () => undefined): T => {
    if (!isHere()) return whole()
    if (moment === 'inside') half()
    if (moment === 'after') whole()
    return die()
  }
  const runAsync = async <T>(whole: () => Promise<T>, half: () => Promise<void> | void): Promise<T> => {
    if (!isHere()) return whole()
    if (moment === 'inside') await half()
    if (moment === 'after') await whole()
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
      runAsync(
        () => nativeDisk.replaceFiles(files),
        async () => {
          const middle = files.length >> 1
          await nativeDisk.replaceFiles(files.slice(0, middle))
          for (const { path, bytes } of files.slice(middle, middle + 1)) {
            writeFileSync(`${path}.tmp`, bytes.subarray(0, bytes.length / 2))
          }
        },
      ),
    removeFileDurably: (path) => run(() => nativeDisk.removeFileDurably(path)),
    linkFileDurably: (from, to) => run(() => nativeDisk.linkFileDurably(from, to)),
    publishFile: (from, to) => run(() => nativeDisk.publishFile(from, to)),
    copyFileDurably: (from, to) =>
      runAsync(
        () => nativeDisk.copyFileDurably(from, to),
        () => {
          const bytes = readFileSync(from)
          writeFileSync(`${to}.tmp`, bytes.subarray(0, bytes.length / 2))
        },
      ),
    step: (change) =>
      run(
        () => change(true),
        () => change(false),
      ),
    engine: {
      foldLog: (file) =>
        runAsync(
          () => nativeEngine.foldLog(file),
          () => undefined,
        ),
      rekey: (file, next) =>
        runAsync(
          () => nativeEngine.rekey(file, next),
          () => nativeEngine.rekey(file, next, { onProgress: die }),
        ),
      keyOpens: (file, journaled, options) => nativeEngine.keyOpens(file, journaled, options),
      reseal: (current, next) =>
        runAsync(
          () => nativeEngine.reseal(current, next),
          () => nativeEngine.reseal(current, next, { onProgress: die }),
        ),
      sealOpens: (file, options) => nativeEngine.sealOpens(file, options),
    },
  }
}

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable: the signal is delivered before kill(2) returns to this thread')
}
