/** The most memory that each command has (VmHWM), on a small file and on one of 4 GB. */
import { rmSync, statSync } from 'node:fs'
import { makeRedb, makeSqlite, withWorkspace } from './workspace.mjs'

const sizes = [64, 4096]
const kinds = { sqlite: makeSqlite, redb: makeRedb }

export async function run() {
  const figures = []
  for (const [kind, make] of Object.entries(kinds)) {
    for (const mebibytes of sizes)
      figures.push(await withWorkspace((workspace) => measure(workspace, kind, make, mebibytes)))
  }
  const commands = Object.keys(figures[0].peaks)
  return {
    figures,
    tables: [
      {
        title: 'The most memory of a command, in MiB',
        columns: ['file', ...commands],
        rows: figures.map(({ kind, megabytes, peaks }) => [
          `${kind}, ${megabytes} MB`,
          ...commands.map((command) => Math.round(peaks[command])),
        ]),
      },
    ],
  }
}

async function measure(workspace, kind, make, mebibytes) {
  const source = `${workspace.data}/plain.db`
  await make(source, mebibytes)
  const megabytes = Math.round(statSync(source).size / 1e6)
  const file = `${source}.encrypted`
  const subject = ['--provider', kind, '--tenant-id', 'bench']
  const peakOf = (...args) => workspace.encryption(args).peakMiB
  const peaks = { migrate: peakOf('migrate', '--source', source, ...subject, '--retire-source') }
  peaks.verify = peakOf('verify', '--path', file)
  peaks['rotate-dek'] = peakOf('rotate-dek', '--path', file, ...subject)
  for (const backup of [`${file}.bak`, `${file}.bak.nimbus-enc`]) rmSync(backup)
  peaks.export = peakOf('export', '--source', file, '--target', source, ...subject)
  return { kind, megabytes, peaks }
}
