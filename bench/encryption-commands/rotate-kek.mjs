/** `rotate-kek --all` beside the same rotation of one file after the other, in one process, each synced by itself. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createProtected } from '../../dist/encryption/protect.js'
import { openMasterKeyFile } from '../../dist/keys/master-key-file.js'
import { nativeDisk } from '../../dist/manifest/file.js'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio, whole } from '../harness/tables.mjs'
import { durationOf, withWorkspace } from './workspace.mjs'

const rounds = 5
const files = 10_000
const oneByOne = fileURLToPath(new URL('rotate-one-by-one.mjs', import.meta.url))

export function run() {
  return withWorkspace(async (workspace) => {
    await makeManifests(workspace)
    const other = workspace.makeKey('other.key')
    // Each rotates from the key that the turn before rotated to.
    const rotate = (how) => {
      const [from, to] = [workspace.key, workspace.to ?? other]
      durationOf('sync', [])
      const ms = how(from, to)
      workspace.key = to
      workspace.to = from
      return ms
    }
    const together = (_from, to) =>
      workspace.encryption(['rotate-kek', '--path', workspace.data, '--all', '--new-master-key-file', to]).ms
    const apart = (from, to) => durationOf(process.execPath, [oneByOne, workspace.data, from, to])
    const results = await interleave(rounds, {
      together: async () => rotate(together),
      apart: async () => rotate(apart),
    })
    return {
      figures: { files, ...results, faster: medianRatio(results.apart, results.together) },
      tables: [
        {
          title: `The key of ${whole(files)} manifests (${rounds} rounds)`,
          columns: ['how', 'median', 'faster by'],
          rows: [
            ['one file after the other', milliseconds(median(results.apart)), ''],
            [
              'rotate-kek --all',
              milliseconds(median(results.together)),
              ratio(medianRatio(results.apart, results.together)),
            ],
          ],
        },
      ],
    }
  })
}

/** The rotation looks at manifests alone. */
async function makeManifests({ data, key }) {
  const provider = await openMasterKeyFile(key, [])
  const unsynced = {
    ...nativeDisk,
    createFileExclusive: (path, bytes) => {
      writeFileSync(path, bytes, { mode: 0o600, flag: 'wx' })
      return true
    },
  }
  mkdirSync(data, { recursive: true })
  for (let number = 0; number < files; number++) {
    const tenant = `tenant-${number}`
    const subject = { family: 'sqlite_tenant', tenant }
    const path = join(data, `${tenant}.sqlite3`)
    const made = await createProtected(path, subject, provider, 'sqlcipher-4-sha256', unsynced)
    made.dek.close()
  }
  provider.close()
}
