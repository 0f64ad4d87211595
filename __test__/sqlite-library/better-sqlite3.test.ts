/** better-sqlite3's own tests, on plain files and on encrypted ones. */
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runSuite, suiteTests } from '../support/better-sqlite3-suite.js'

const entry = fileURLToPath(new URL('../../dist/cjs/better-sqlite3.cjs', import.meta.url))

describe.each([
  ['plain', undefined],
  ['encrypted', '07'.repeat(32)],
])('on %s files', (_kind, key) => {
  test('every test of better-sqlite3 passes', { timeout: 120_000 }, async () => {
    const report = await runSuite(process.execPath, entry, key)
    expect(report).toEqual({ passes: suiteTests, failures: [], skipped: [] })
  })
})
