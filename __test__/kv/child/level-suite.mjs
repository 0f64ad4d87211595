/** Runs the test suite that abstract-level has for its implementations: `node level-suite.mjs <folder> plain|sealed`. */
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { NimbusLevel } from '../../../dist/kv/level.js'

const require = createRequire(import.meta.url)
const [folder, form] = process.argv.slice(2)
const key = form === 'sealed' ? randomBytes(32) : undefined
let count = 0

require('abstract-level/test')({
  test: require('tape'),
  factory: (options) => new NimbusLevel(join(folder, `${count++}.redb`), { ...options, key }),
})
