/** The CommonJS form of `@nimbus/storage/better-sqlite3`: one file beside dist/, for `require` on every supported Node. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './stage.mjs'

/** `require` of the entry gives the class, as that of better-sqlite3 does. */
const classIsModule = 'module.exports = exports.default;'

const typings = `import type * as esm from '../better-sqlite3.js' with { 'resolution-mode': 'import' }

declare const Database: typeof esm.Database
type Database = esm.Database
export = Database
`

/** Reads what tsc wrote. */
export async function bundleCommonJs() {
  // Only now: whoever imports this file may have to install the bundler first.
  const { build } = await import('vite')
  const outDir = join(root, 'dist/cjs')
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    ssr: { noExternal: true },
    build: {
      ssr: join(root, 'dist/better-sqlite3.js'),
      outDir,
      emptyOutDir: true,
      target: 'node20',
      minify: false,
      rollupOptions: {
        output: { format: 'cjs', exports: 'named', entryFileNames: 'better-sqlite3.cjs', footer: classIsModule },
      },
    },
  })
  mkdirSync(outDir, { recursive: true })
  writeFileSync(join(outDir, 'better-sqlite3.d.cts'), typings)
}
