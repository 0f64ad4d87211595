/** Installs and builds whatever is missing or older than its sources: `npm run build`, and the first act of the other scripts. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { bundleCommonJs } from './bundle.mjs'
import { checkPrerequisites } from './prerequisites.mjs'
import { root, run, stage } from './stage.mjs'

/**
 * Installs, then starts the builds that are asked for: one promise a product, false when it could not be made. The addon
 * takes minutes the first time, so whoever needs only the TypeScript need not wait for it.
 *
 * @param {{ forChecks: boolean, products: readonly Product[] }} options
 * @returns {Promise<Record<Product, Promise<boolean>> | undefined>} undefined: nothing can be built here
 * @typedef {'addon' | 'typescript'} Product
 */
export async function startBuild({ forChecks, products }) {
  if (!(await stage('prerequisites', () => checkPrerequisites({ forChecks })))) return undefined
  if (!(await stage('install', install))) return undefined
  const typingsBefore = digest(['index.d.ts'])
  const typescript = products.includes('typescript') ? stage('typescript', buildTypeScript) : Promise.resolve(true)
  const addon = products.includes('addon') ? stage('addon', buildAddon) : Promise.resolve(true)
  // The addon's typings are an input of the TypeScript: when they have changed, it is built on the new ones.
  const agreeing = Promise.all([addon, typescript]).then(async ([addonBuilt, typescriptBuilt]) => {
    const typingsChanged = addonBuilt && digest(['index.d.ts']) !== typingsBefore
    return typingsChanged && products.includes('typescript') ? stage('typescript', buildTypeScript) : typescriptBuilt
  })
  return { addon, typescript: products.includes('addon') ? agreeing : typescript }
}

/** @param {(line: string) => void} progress */
async function install(progress) {
  if (nodeModulesMatchLock()) return 'up to date'
  console.log('    installing the npm packages that package-lock.json names')
  await run(['npm', 'ci', '--no-audit', '--no-fund'], { progress })
  return 'installed'
}

/**
 * Whether node_modules holds what the lock file asks for. Versions are compared, not times, because a checkout changes
 * times; packages for other platforms are absent on purpose.
 */
function nodeModulesMatchLock() {
  const installedLock = join(root, 'node_modules/.package-lock.json')
  if (!existsSync(installedLock)) return false
  const { packages: installed } = JSON.parse(readFileSync(installedLock, 'utf8'))
  const { packages: wanted } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || (path in installed ? installed[path].version === version : optional),
  )
}

/** @param {(line: string) => void} progress */
async function buildAddon(progress) {
  const inputs = digest(['Cargo.toml', 'Cargo.lock', '.cargo', 'crates', 'package.json'])
  const addons = () => readdirSync(root).filter((name) => name.endsWith('.node'))
  const stamp = join(root, 'target/stamps/addon')
  if (addons().length > 0 && existsSync(join(root, 'index.d.ts')) && isFresh(stamp, inputs)) return 'up to date'
  console.log('    compiling the addon: SQLCipher and Rust, a few minutes the first time')
  await run(['npm', 'run', '--silent', 'build:native', '--', '--', '--locked'], { progress })
  writeStamp(stamp, inputs)
  return `built ${addons().join(', ')}`
}

/** @param {(line: string) => void} progress */
async function buildTypeScript(progress) {
  const inputs = digest(['src', 'tsconfig.json', 'index.d.ts', 'scripts/bundle.mjs'])
  const stamp = join(root, 'target/stamps/typescript')
  if (existsSync(join(root, 'dist')) && isFresh(stamp, inputs)) return 'up to date'
  await run(['npm', 'run', '--silent', 'build:ts'], { progress })
  removeOrphans(join(root, 'dist'))
  await bundleCommonJs()
  writeStamp(stamp, inputs)
  return 'built dist/'
}

/** Removes from dist/ what has no source any more, so that nothing deleted is tested or published. @param {string} folder */
function removeOrphans(folder) {
  for (const path of filesIn(folder)) {
    const source = join(root, 'src', relative(join(root, 'dist'), path)).replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts')
    if (!existsSync(source)) rmSync(path)
  }
}

/**
 * SHA-256 over names and contents: unlike times, the same after every checkout and copy.
 *
 * @param {string[]} paths files and folders, relative to the root; what is missing counts as absent
 */
function digest(paths) {
  const hash = createHash('sha256')
  for (const path of paths) {
    for (const file of filesIn(join(root, path))) {
      const bytes = readFileSync(file)
      hash.update(`${relative(root, file)}\0${bytes.length}\0`).update(bytes)
    }
  }
  return hash.digest('hex')
}

/**
 * @param {string} path
 * @returns {string[]} the file itself, or every file below the folder, in a stable order
 */
function filesIn(path) {
  if (!existsSync(path)) return []
  try {
    const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
    return entries.flatMap((entry) =>
      entry.isDirectory() ? filesIn(join(path, entry.name)) : [join(path, entry.name)],
    )
  } catch {
    return [path]
  }
}

/**
 * @param {string} stamp
 * @param {string} inputs
 */
function isFresh(stamp, inputs) {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs
}

/**
 * @param {string} stamp
 * @param {string} inputs
 */
function writeStamp(stamp, inputs) {
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, inputs)
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const build = await startBuild({ forChecks: false, products: ['addon', 'typescript'] })
  const built = build === undefined ? [false] : await Promise.all([build.addon, build.typescript])
  process.exitCode = built.every(Boolean) ? 0 : 1
}
