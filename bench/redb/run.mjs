/** Commits and reads of a sealed redb file beside a plain one, in one process by turns: crates/redb/examples/cost.rs. */
import { mkdtempSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run as runCommand } from '../../scripts/stage.mjs'
import { microseconds, ratio } from '../harness/tables.mjs'

/** Pairs in the file: 36 MB and 272 MB. What is larger is measured with the example itself: it takes minutes to fill. */
const sizes = [60_000, 600_000]
const results = fileURLToPath(new URL('../results/', import.meta.url))

export async function run() {
  const figures = []
  for (const pairs of sizes) {
    const directory = mkdtempSync(`${results}redb-`)
    try {
      const example = ['cargo', 'run', '--quiet', '--release', '--locked', '-p', 'nimbus-redb', '--example', 'cost']
      const printed = await runCommand([...example, '--', directory, String(pairs)])
      figures.push({ pairs, ...parse(printed) })
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
  return { figures, tables: figures.map(tableOf) }
}

/** The example prints one JSON object as its last line. */
function parse(printed) {
  return JSON.parse(printed.slice(printed.indexOf('{')))
}

function tableOf({ pairs, file_bytes: bytes, page, measures }) {
  return {
    title: `${pairs} pairs, ${Math.round(bytes / 1e6)} MB; the cipher takes ${microseconds(page.seal_us)} to seal a page, ${microseconds(page.open_us)} to open one`,
    columns: ['work', 'plain redb', 'sealed', 'plain / sealed'],
    rows: measures.map(({ what, plain_us: plain, sealed_us: sealed }) => [
      what,
      microseconds(plain),
      microseconds(sealed),
      ratio(plain / sealed),
    ]),
  }
}
