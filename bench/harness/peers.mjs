/** Installs what nimbus is compared with, when it is missing: it compiles for minutes and is needed for nothing else. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from '../../scripts/stage.mjs'

const folder = fileURLToPath(new URL('..', import.meta.url))

/** @param {(line: string) => void} progress */
export async function installPeers(progress) {
  const built = ['better-sqlite3/build/Release/better_sqlite3.node']
  if (process.platform === 'linux') built.push(`node-24-${process.arch}/bin/node`)
  if (built.every((file) => existsSync(`${folder}node_modules/${file}`))) return 'up to date'
  console.log('    compiling better-sqlite3, a few minutes')
  await run(['npm', 'ci', '--prefix', folder], { progress })
  return 'installed'
}
