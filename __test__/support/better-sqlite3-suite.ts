/** better-sqlite3's own tests (7.4.3, the last release whose package has them), against a build of ours. */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { temporaryDirectory } from './directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const theirs = join(root, 'node_modules/better-sqlite3-tests')

/** How many there are. */
export const suiteTests = 306

/** What mocha says of a run. */
export interface SuiteReport {
  passes: number
  failures: string[]
  skipped: string[]
}

/**
 * Runs them all on `node`, against what `require` of `entry` gives there; with a key (64 hex digits), every database is opened
 * with it.
 */
export async function runSuite(node: string, entry: string, key: string | undefined): Promise<SuiteReport> {
  const directory = temporaryDirectory()
  cpSync(join(theirs, 'test'), join(directory, 'test'), { recursive: true })
  mkdirSync(join(directory, 'build/Release'), { recursive: true })
  execFileSync('tar', ['-xzf', join(theirs, 'deps/sqlite3.tar.gz'), '-C', directory])
  const extension = join(directory, 'build/Release/test_extension.node')
  execFileSync('cc', ['-shared', '-fPIC', '-I', directory, '-o', extension, join(theirs, 'deps/test_extension.c')])
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  writeFileSync(join(directory, 'package.json'), '{"main":"index.js"}')
  writeFileSync(join(directory, 'index.js'), program(entry, key))
  const { stats, failures, pending } = await mocha(node, directory)
  return {
    passes: stats.passes,
    failures: failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message ?? ''}`),
    skipped: pending.map(({ fullTitle }) => fullTitle),
  }
}

/** What `require('../.')` gives their tests. */
const program = (entry: string, key: string | undefined): string => `
const Database = require(${JSON.stringify(entry)})
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

interface Report {
  stats: { passes: number }
  failures: { fullTitle: string; err: { message?: string } }[]
  pending: { fullTitle: string }[]
}

async function mocha(node: string, directory: string): Promise<Report> {
  const program = join(root, 'node_modules/mocha/bin/mocha.js')
  const report = join(directory, 'report.json')
  const values = ['--exit', '--timeout=20000', '--reporter=json', `--reporter-option=output=${report}`]
  const said = await new Promise<string>((resolve) => {
    execFile(node, [program, ...values], { cwd: directory }, (_error, out, err) => resolve(out + err))
  })
  try {
    return JSON.parse(readFileSync(report, 'utf8')) as Report
  } catch {
    throw new Error(`mocha wrote no report: ${said}`)
  }
}
