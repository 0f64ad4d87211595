/** Temporary directories that are gone when the test is over. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'

/** A fresh, empty directory of mode 0700. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'nimbus-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Writes a file into `directory` and returns its path. */
export function writeIn(directory: string, name: string, content: string | Uint8Array, mode = 0o600): string {
  const file = path.join(directory, name)
  writeFileSync(file, content, { mode })
  return file
}
