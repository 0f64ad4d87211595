/** Genuine SQLCipher over OpenSSL, from PyPI, in a Python process: installed once below node_modules/.cache. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'

const PACKAGE = 'sqlcipher3-wheels==0.5.7'
const SITE = resolve('node_modules/.cache/nimbus-sqlcipher3')

export interface GenuineJob {
  path: string
  key: string
  pragmas: string[]
  statements: [sql: string, parameters: (string | number)[]][]
}

/** Whether the peer could be installed; needs python3 with pip and a wheel for this platform. */
export function genuineSqlcipherIsHere(): boolean {
  if (existsSync(`${SITE}/sqlcipher3`)) return true
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:']
  return spawnSync('python3', [...pip, '--target', SITE, PACKAGE], { timeout: 60_000 }).status === 0
}

/** Runs the statements in one connection; the rows of each. The key travels through stdin. */
export function genuineSqlcipher(job: GenuineJob): unknown[][][] {
  const answer = execFileSync('python3', ['__test__/support/genuine_sqlcipher.py'], {
    input: JSON.stringify(job),
    env: { ...process.env, PYTHONPATH: SITE },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  const rows: unknown[][][] = JSON.parse(answer)
  return rows
}
