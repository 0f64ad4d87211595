/**
 * Collects the licences of everything that is compiled into the addon, for the packages that carry the binary:
 * `node scripts/third-party-licenses.mjs npm/linux-x64-gnu/LICENSE-THIRD-PARTY`.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { argv } from 'node:process'
import { root } from './stage.mjs'

const target = argv[2]
if (target === undefined) {
  console.error('Usage: node scripts/third-party-licenses.mjs <file to write>')
  process.exit(2)
}

/** @type {Map<string, string[]>} every text once, with the crates that come under it */
const cratesByText = new Map()
for (const { name, version, license, manifest_path: manifest } of compiledIn()) {
  for (const path of licenceFiles(dirname(manifest))) {
    const text = readFileSync(path, 'utf8').trim()
    cratesByText.set(text, [...(cratesByText.get(text) ?? []), `${name} ${version} (${license ?? 'as below'})`])
  }
}
const notices = [...cratesByText].map(([text, crates]) => `${[...new Set(crates)].join('\n')}\n\n${text}\n`)
writeFileSync(target, notices.join(`\n${'-'.repeat(80)}\n\n`))
console.log(`${target}: ${notices.length} licences`)

/**
 * @typedef {{ id: string, name: string, version: string, license: string | null, manifest_path: string, source: string | null }} Crate
 * @returns {Crate[]} what nimbus-node depends on, by name; at build time too, because SQLCipher's C source comes that way
 */
function compiledIn() {
  const json = execFileSync('cargo', ['metadata', '--format-version', '1', '--locked'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  /** @type {{ packages: Crate[], resolve: { nodes: { id: string, deps: { pkg: string, dep_kinds: { kind: string | null }[] }[] }[] } }} */
  const { packages, resolve } = JSON.parse(json)
  const dependencies = new Map(
    resolve.nodes.map(({ id, deps }) => [
      id,
      deps.filter((dep) => dep.dep_kinds.some(({ kind }) => kind !== 'dev')).map(({ pkg }) => pkg),
    ]),
  )
  const reached = new Set(packages.filter(({ name }) => name === 'nimbus-node').map(({ id }) => id))
  // A set visits what is added to it during the walk.
  for (const id of reached) for (const dependency of dependencies.get(id) ?? []) reached.add(dependency)
  return packages
    .filter(({ id, source }) => reached.has(id) && source !== null)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * @param {string} folder
 * @returns {string[]} the licence files of a crate, and of the C sources that it carries one folder further down
 */
function licenceFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory())
      return readdirSync(path)
        .filter(isLicence)
        .map((name) => join(path, name))
    return isLicence(entry.name) ? [path] : []
  })
}

/** @param {string} name */
function isLicence(name) {
  return /^(licen[cs]e|copying|notice|unlicense)([-.]|$)/i.test(name) && !/\.(rs|toml|json)$/.test(name)
}
