/** Tables of docs/format.md: what a crash leaves is promised there, so the tests take it from there. */
import { readFileSync } from 'node:fs'

/** The rows of the table whose first column bears `head` in the section that begins with `title`, without its heading. */
export function tableOf(title: string, head: string): string[][] {
  const text = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8')
  const from = text.indexOf(`\n### ${title}`)
  if (from === -1) throw new Error(`docs/format.md has no section ${title}`)
  const section = text.slice(from + 1).split(/\n##/)[0] ?? ''
  const rows = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  const start = rows.findIndex(([first]) => first === head)
  if (start === -1) throw new Error(`docs/format.md, ${title}, has no table of ${head}`)
  return rows.slice(start + 2)
}
