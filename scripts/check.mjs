/**
 * Runs every check there is and reports every failure: `npm test`, `npm run check`. Names as arguments run only those,
 * `npm run check -- lint types`. Nothing needs to be installed or built before.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { argv } from 'node:process'
import { stripVTControlCharacters } from 'node:util'
import { startBuild } from './build.mjs'
import { root, run, stage, StageFailure } from './stage.mjs'

/**
 * `needs` is what has to be built first. The checks of one lane run one after the other, the lanes side by side: one is
 * cargo's, which takes all cores when it compiles and locks its folder, the other is everything that only reads source
 * files. The JavaScript tests come last and alone, because some of them measure time.
 *
 * @typedef {object} Check
 * @property {string} name
 * @property {'cargo' | 'source' | 'alone'} lane
 * @property {import('./build.mjs').Product[]} [needs]
 * @property {(progress: (line: string) => void) => Promise<string>} check
 */

/** One profile and all crates, always: another set would compile SQLCipher a second time. */
const inWorkspace = ['--release', '--locked', '--workspace']

/** @type {Check[]} */
const checks = [
  {
    name: 'format',
    lane: 'source',
    check: command(['node_modules/.bin/prettier', '--check', '--log-level', 'warn', '.']),
  },
  {
    name: 'lint',
    lane: 'source',
    // It walks every folder, and fails on a file of a build that is gone before it is looked at.
    needs: ['addon', 'typescript'],
    check: command(['node_modules/.bin/eslint', '.']),
  },
  { name: 'arrows', lane: 'source', check: command(['node_modules/.bin/depcruise', 'src']) },
  { name: 'types', lane: 'source', check: command(['node_modules/.bin/tsc', '-p', 'tsconfig.check.json']) },
  { name: 'unused', lane: 'source', check: command(['node_modules/.bin/knip']) },
  {
    name: 'package',
    lane: 'source',
    needs: ['typescript'],
    check: command(['node_modules/.bin/publint', '--strict', '--pack', 'npm']),
  },
  { name: 'rustfmt', lane: 'cargo', check: command(['cargo', 'fmt', '--all', '--check']) },
  { name: 'clippy', lane: 'cargo', needs: ['addon'], check: clippy },
  { name: 'rust docs', lane: 'cargo', needs: ['addon'], check: rustDocs },
  {
    name: 'rust tests',
    lane: 'cargo',
    needs: ['addon'],
    check: command(['cargo', 'test', ...inWorkspace, '--no-fail-fast'], rustTestsRun),
  },
  {
    name: 'tests',
    lane: 'alone',
    needs: ['addon', 'typescript'],
    check: command(['node_modules/.bin/vitest', 'run'], testsRun),
  },
  { name: 'generated', lane: 'alone', needs: ['addon', 'typescript'], check: generatedFilesAreFresh },
]

/** Newer compilers know more lints; a stranger's newer toolchain gets those as warnings, not as a failed check. */
const lintedWithRust = 95

/** @param {(line: string) => void} progress */
async function clippy(progress) {
  const minor = Number(/ 1\.(\d+)/.exec(await run(['cargo', '--version']))?.[1])
  const strict = minor <= lintedWithRust ? ['--', '-D', 'warnings'] : []
  await run(['cargo', 'clippy', ...inWorkspace, '--all-targets', ...strict], { progress })
  return strict.length > 0 ? '' : `Rust 1.${minor} is newer than 1.${lintedWithRust}: warnings do not fail`
}

const generatedFiles = ['index.d.ts', 'docs/configuration.md', 'docs/errors.md']

/** Generates what is generated and compares it with what is committed, or at least staged. */
async function generatedFilesAreFresh() {
  await run(['node', 'scripts/generate-docs.mjs'])
  if (!existsSync(join(root, '.git'))) return 'not a git checkout: nothing to compare with'
  const untracked = await run(['git', 'ls-files', '--others', '--exclude-standard', '--', ...generatedFiles])
  if (untracked !== '') throw new StageFailure(`Not in git, add them:\n${untracked}`)
  try {
    await run(['git', '--no-pager', 'diff', '--exit-code', '--', ...generatedFiles])
  } catch (error) {
    const difference = error instanceof Error ? error.message : String(error)
    throw new StageFailure(
      `${difference}\nThe files above were generated just now: look at the difference, then \`git add\` them.`,
    )
  }
  return ''
}

/**
 * @param {string[]} line
 * @param {(output: string) => string} [outcome] what is worth saying of a success
 * @returns {Check['check']}
 */
function command(line, outcome = () => '') {
  return async (progress) => outcome(await run(line, { progress }))
}

/** @param {(line: string) => void} progress */
async function rustDocs(progress) {
  // The crates are read in this repository, where private items have a page too.
  const env = { RUSTDOCFLAGS: '-D warnings -A rustdoc::private-intra-doc-links' }
  await run(['cargo', 'doc', ...inWorkspace, '--no-deps', '--document-private-items'], { progress, env })
  return ''
}

/** @param {string} output of `cargo test`, which counts each of its programs apart */
function rustTestsRun(output) {
  const counts = [...output.matchAll(/^test result: .*?(\d+) passed; \d+ failed; (\d+) ignored/gm)]
  const [passed, ignored] = [1, 2].map((group) => counts.reduce((sum, count) => sum + Number(count[group]), 0))
  return `${passed} passed${ignored === 0 ? '' : `, ${ignored} ignored`}`
}

/** @param {string} output of vitest */
function testsRun(output) {
  return /^ *Tests +(.+)$/m.exec(stripVTControlCharacters(output))?.[1] ?? ''
}

const wanted = argv.slice(2)
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name))
if (unknown.length > 0) {
  console.error(`There is no check ${unknown.join(', ')}; there are: ${checks.map(({ name }) => name).join(', ')}.`)
  process.exit(2)
}
const selected = checks.filter(({ name }) => wanted.length === 0 || wanted.includes(name))

const startedAt = performance.now()
const build = await startBuild({
  forChecks: true,
  products: [...new Set(selected.flatMap(({ needs }) => needs ?? []))],
})
if (build === undefined) process.exit(1)

/** @type {string[]} */
const failed = []

/** @param {Check['lane']} lane */
async function runLane(lane) {
  for (const { name, needs, check } of selected.filter((candidate) => candidate.lane === lane)) {
    const built = await Promise.all((needs ?? []).map((product) => build?.[product]))
    const ready = built.every(Boolean)
    if (!ready) console.log(`  - ${name.padEnd(13)} not run: it needs ${needs?.join(' and ')}`)
    if (!ready || !(await stage(name, check))) failed.push(name)
  }
}

await Promise.all([runLane('cargo'), runLane('source')])
await runLane('alone')
for (const product of /** @type {const} */ (['addon', 'typescript']))
  if (!(await build[product])) failed.unshift(product)

const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1)
if (failed.length > 0) console.log(`\nFailed: ${failed.join(', ')} (${minutes} min)`)
else console.log(`\nAll ${selected.length} checks passed (${minutes} min)`)
process.exitCode = failed.length > 0 ? 1 : 0
