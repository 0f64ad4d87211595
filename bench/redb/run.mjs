/** Commits, reads and opens of a sealed redb file beside a plain one, in one process by turns: crates/redb/examples/cost. */
import { mkdtempSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run as runCommand } from '../../scripts/stage.mjs'
import { microseconds, ratio } from '../harness/tables.mjs'

/** Pairs in the file: 18 MB, 79 MB and 1.1 GB; with `--large` 4.2 GB as well. */
const sizes = [42_000, 420_000, 4_000_000]
const largeSize = 24_000_000
const results = fileURLToPath(new URL('../results/', import.meta.url))

export async function run({ large }) {
  const figures = []
  for (const pairs of large ? [...sizes, largeSize] : sizes) {
    const directory = mkdtempSync(`${results}redb-`)
    try {
      const example = ['cargo', 'run', '--quiet', '--release', '--locked', '-p', 'nimbus-redb', '--example', 'cost']
      const printed = await runCommand([...example, '--', directory, String(pairs)])
      figures.push({ pairs, ...parse(printed) })
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
  return { figures, tables: figures.flatMap(tablesOf) }
}

/** The example prints one JSON object as its last line. */
function parse(printed) {
  return JSON.parse(printed.slice(printed.indexOf('{')))
}

function tablesOf({ pairs, file_bytes: bytes, page, measures, cold_gets: coldGets }) {
  const file = `${pairs} pairs, ${Math.round(bytes / 1e6)} MB`
  const cipher = `the cipher takes ${microseconds(page.seal_us)} to seal a page, ${microseconds(page.open_us)} to open one`
  return [
    {
      title: `${file}; ${cipher} (\`aead\` measures it beside OpenSSL)`,
      columns: ['work', 'plain redb', 'sealed', 'plain / sealed'],
      rows: measures.map(({ what, plain_us: plain, sealed_us: sealed }) => [
        what,
        microseconds(plain),
        microseconds(sealed),
        ratio(plain / sealed),
      ]),
    },
    {
      title: `${file}; random gets from the disk, the same memory for both`,
      columns: ['when', 'plain redb', 'sealed', 'blocks read, plain and sealed', 'added', 'of that the cipher'],
      rows: coldGets.map((gets) => [
        gets.when,
        microseconds(gets.plain_us),
        microseconds(gets.sealed_us),
        `${gets.plain_blocks} and ${gets.sealed_blocks}`,
        microseconds(gets.sealed_us - gets.plain_us),
        microseconds(gets.cipher_us),
      ]),
    },
  ]
}
