/** better-sqlite3's own tests (7.4.3, the last release whose package has them), against ours: on plain files and on encrypted ones. */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../support/directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const theirs = join(root, 'node_modules/better-sqlite3-tests')
const tests = 306

/** What `require('../.')` gives their tests; with a key, every database is opened with it. */
const entry = (key: string | undefined): string => `
const Database = require(${JSON.stringify(join(root, 'dist/cjs/better-sqlite3.cjs'))})
const key = ${key === undefined ? 'undefined' : `Buffer.from('${key}', 'hex')`}
const given = (source, options) =>
  key !== undefined && (options === undefined || (typeof options === 'object' && options !== null))
    ? [source, { key, ...options }]
    : [source, options]
const ours = new Proxy(Database, {
  apply: (target, _this, values) => new target(...given(...values)),
  construct: (target, values, asked) => Reflect.construct(target, given(...values), asked),
})
Database.prototype.constructor = ours
module.exports = ours
`

const directory = mkdtempSync(join(tmpdir(), 'nimbus-test-'))
const extension = join(directory, 'test_extension.node')

beforeAll(() => {
  execFileSync('tar', ['-xzf', join(theirs, 'deps/sqlite3.tar.gz'), '-C', directory])
  execFileSync('cc', ['-shared', '-fPIC', '-I', directory, '-o', extension, join(theirs, 'deps/test_extension.c')])
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe.each([
  ['plain', undefined],
  ['encrypted', '07'.repeat(32)],
])('on %s files', (_kind, key) => {
  test('every test of better-sqlite3 passes', { timeout: 120_000 }, async () => {
    const directory = temporaryDirectory()
    cpSync(join(theirs, 'test'), join(directory, 'test'), { recursive: true })
    mkdirSync(join(directory, 'build/Release'), { recursive: true })
    cpSync(extension, join(directory, 'build/Release/test_extension.node'))
    symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
    writeFileSync(join(directory, 'package.json'), '{"main":"index.js"}')
    writeFileSync(join(directory, 'index.js'), entry(key))
    const report = await mocha(directory)
    expect(report.failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message ?? ''}`)).toEqual([])
    expect(report.pending.map(({ fullTitle }) => fullTitle)).toEqual([])
    expect(report.stats.passes).toBe(tests)
  })
})

interface Report {
  stats: { passes: number }
  failures: { fullTitle: string; err: { message?: string } }[]
  pending: { fullTitle: string }[]
}

async function mocha(directory: string): Promise<Report> {
  const program = join(root, 'node_modules/mocha/bin/mocha.js')
  const report = join(directory, 'report.json')
  const values = ['--exit', '--timeout=20000', '--reporter=json', `--reporter-option=output=${report}`]
  const said = await new Promise<string>((resolve) => {
    execFile(process.execPath, [program, ...values], { cwd: directory }, (_error, out, err) => resolve(out + err))
  })
  try {
    return JSON.parse(readFileSync(report, 'utf8')) as Report
  } catch {
    throw new Error(`mocha wrote no report: ${said}`)
  }
}
