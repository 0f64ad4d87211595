/** Rows for people to read: columns as wide as their widest cell, nothing in them that a terminal would obey. */

/** What a table holds came from files and requests, and a terminal obeys control characters. */
const UNPRINTABLE = /\p{C}/gu

function printable(text: string): string {
  return text.replace(UNPRINTABLE, '\ufffd')
}

/** One line a row under the titles in capitals; `dress` may colour a line that is already laid out. */
export function tableText(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  dress: (line: string, row: number) => string = (line) => line,
): string {
  const cells = rows.map((row) => row.map(printable))
  const widths = titles.map((title, column) => Math.max(title.length, ...cells.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  const head = line(titles.map((title) => title.toUpperCase()))
  return `${[head, ...cells.map((row, index) => dress(line(row), index))].join('\n')}\n`
}
