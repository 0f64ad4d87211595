/** What lies in a directory, byte for byte, so that a test can say that nothing was written. */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'

/** Digest by file name; lock files are left out, since taking a lock writes its owner into them. */
export function snapshot(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.endsWith('lock') && statSync(path.join(directory, name)).isFile())
    .sort()
  return Object.fromEntries(names.map((name) => [name, digest(readFileSync(path.join(directory, name)))]))
}

function digest(bytes: Buffer): string {
  return `${bytes.length} bytes ${createHash('sha256').update(bytes).digest('hex')}`
}

/** Every file below `directory` as one string of bytes, to search for what must not be there. */
export function allBytes(directory: string): string {
  return Object.keys(snapshot(directory))
    .map((name) => readFileSync(path.join(directory, name)).toString('latin1'))
    .join('\n')
}
