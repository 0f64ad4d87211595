/** Compiles and runs the comparison of ciphers. */
import { fileURLToPath } from 'node:url'
import { run as runCommand } from '../../scripts/stage.mjs'
import { microseconds, ratio } from '../harness/tables.mjs'

const folder = fileURLToPath(new URL('.', import.meta.url))

export async function run() {
  console.log('    compiling AWS-LC and OpenSSL, a few minutes the first time')
  const manifest = ['--manifest-path', `${folder}Cargo.toml`, '--target-dir', `${folder}target`]
  const printed = await runCommand(['cargo', 'run', '--quiet', '--release', '--locked', ...manifest])
  const figures = JSON.parse(printed.slice(printed.indexOf('{')))
  const [ours] = figures.ciphers
  return {
    figures,
    tables: [
      {
        title: `One page of ${figures.page_bytes} bytes (medians of ${figures.rounds} rounds)`,
        columns: ['cipher', 'seal', 'open', 'speed beside ours'],
        rows: figures.ciphers.map(({ name, seal_ns: seal, open_ns: open }) => [
          name,
          microseconds(seal / 1000),
          microseconds(open / 1000),
          ratio((ours.seal_ns + ours.open_ns) / (seal + open)),
        ]),
      },
    ],
  }
}
