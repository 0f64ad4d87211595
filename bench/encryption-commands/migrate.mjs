/** `migrate` beside `cp` and `openssl enc -aes-256-cbc` of the same file, both on the disk when they are done. */
import { rmSync, statSync } from 'node:fs'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio } from '../harness/tables.mjs'
import { durationOf, makeRedb, makeSqlite, withWorkspace } from './workspace.mjs'

const rounds = 3
const mebibytes = 256
const kinds = {
  sqlite: { make: makeSqlite, profiles: ['sqlcipher-4-sha256', 'sqlcipher-4'] },
  redb: { make: makeRedb, profiles: ['sealed-redb-1'] },
}

export async function run() {
  const figures = {}
  const tables = []
  for (const [kind, { make, profiles }] of Object.entries(kinds)) {
    await withWorkspace(async (workspace) => {
      const source = `${workspace.data}/plain.db`
      await make(source, mebibytes)
      const megabytes = Math.round(statSync(source).size / 1e6)
      const results = await interleave(rounds, {
        'cp, then openssl enc -aes-256-cbc': async () => copyAndEncrypt(source, workspace.folder),
        ...Object.fromEntries(
          profiles.flatMap((profile) =>
            [[], ['--skip-validation']].map((flags) => [
              ['migrate to', profile, ...flags].join(' '),
              async () => migrate(workspace, source, ['--provider', kind, '--profile', profile, ...flags]),
            ]),
          ),
        ),
      })
      const [peer, ...ours] = Object.keys(results)
      figures[kind] = { megabytes, ...results }
      tables.push({
        title: `A ${kind} database of ${megabytes} MB (${rounds} rounds)`,
        columns: ['how', 'median', 'as fast as the first'],
        rows: [
          [peer, milliseconds(median(results[peer])), ''],
          ...ours.map((how) => [
            how,
            milliseconds(median(results[how])),
            ratio(medianRatio(results[peer], results[how])),
          ]),
        ],
      })
    })
  }
  return { figures, tables }
}

function copyAndEncrypt(source, folder) {
  const [copy, encrypted] = [`${folder}/copy`, `${folder}/encrypted`]
  const ms =
    durationOf('cp', [source, copy]) +
    durationOf('sync', [copy]) +
    durationOf('openssl', ['enc', '-aes-256-cbc', '-pbkdf2', '-pass', 'pass:bench', '-in', copy, '-out', encrypted]) +
    durationOf('sync', [encrypted])
  rmSync(copy)
  rmSync(encrypted)
  return ms
}

function migrate(workspace, source, flags) {
  const { ms } = workspace.encryption(['migrate', '--source', source, '--tenant-id', 'bench', ...flags])
  rmSync(`${source}.encrypted`)
  rmSync(`${source}.encrypted.nimbus-enc`)
  return ms
}
