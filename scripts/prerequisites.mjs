/** What has to be on the machine before anything can be built, each with one line on how to get it. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, StageFailure } from './stage.mjs'

/**
 * Checks what a build needs, and with `forChecks` what `npm test` needs besides.
 *
 * @param {{ forChecks: boolean }} options
 * @returns {string} the versions found; throws a StageFailure naming everything that is missing
 */
export function checkPrerequisites({ forChecks }) {
  const needed = [
    node(),
    cargo(),
    cCompiler(),
    ...(forChecks ? [cargoTool('fmt', 'rustfmt'), cargoTool('clippy', 'clippy')] : []),
  ]
  const missing = needed.filter(({ problem }) => problem !== undefined).map(({ problem }) => problem)
  if (missing.length > 0) throw new StageFailure(missing.join('\n'))
  return needed.map(({ found }) => found).join(', ')
}

/** @typedef {{ found?: string, problem?: string }} Prerequisite */

/** @returns {Prerequisite} */
function node() {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const least = String(engines.node).replace('>=', '')
  return isAtLeast(process.versions.node, least)
    ? { found: `node ${process.versions.node}` }
    : {
        problem: `Node ${least} or newer is needed, this is ${process.versions.node}: install it from https://nodejs.org.`,
      }
}

/** @returns {Prerequisite} */
function cargo() {
  const least = /^rust-version = "([\d.]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))?.[1] ?? '0'
  const found = versionOf('cargo', ['--version'])
  if (found === undefined) return { problem: 'cargo is not on the PATH: install Rust from https://rustup.rs.' }
  return isAtLeast(found, least)
    ? { found: `cargo ${found}` }
    : { problem: `Rust ${least} or newer is needed, this is ${found}: run \`rustup update stable\`.` }
}

/** @returns {Prerequisite} */
function cCompiler() {
  const compiler = process.env.CC ?? 'cc'
  const found = versionOf(compiler, ['--version'])
  return found === undefined
    ? {
        problem: `The C compiler \`${compiler}\` does not run: install gcc or clang (Debian, Ubuntu: \`apt install build-essential\`).`,
      }
    : { found: `${compiler} ${found}` }
}

/**
 * @param {string} command
 * @param {string} component
 * @returns {Prerequisite}
 */
function cargoTool(command, component) {
  const found = versionOf('cargo', [command, '--version'])
  return found === undefined
    ? { problem: `\`cargo ${command}\` does not run: run \`rustup component add ${component}\`.` }
    : { found: `${component} ${found}` }
}

/**
 * @param {string} file
 * @param {string[]} args
 * @returns {string | undefined} the first thing it prints that looks like a version
 */
function versionOf(file, args) {
  try {
    const printed = execFileSync(file, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return /\d+(\.\d+)+/.exec(printed)?.[0] ?? 'of unknown version'
  } catch {
    return undefined
  }
}

/**
 * @param {string} version
 * @param {string} least
 */
function isAtLeast(version, least) {
  const have = version.split('.').map(Number)
  const want = least.split('.').map(Number)
  for (const [index, part] of want.entries()) {
    if ((have[index] ?? 0) !== part) return (have[index] ?? 0) > part
  }
  return true
}
