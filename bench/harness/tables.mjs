/** Prints results as Markdown tables, ready to be quoted. */

/** @param {{ title: string, columns: string[], rows: (string | number)[][] }[]} tables */
export function printTables(tables) {
  for (const { title, columns, rows } of tables) {
    const widths = columns.map((column, index) =>
      Math.max(column.length, ...rows.map((row) => String(row[index]).length)),
    )
    const line = (cells) => `| ${cells.map((cell, index) => String(cell).padEnd(widths[index])).join(' | ')} |`
    console.log(`\n${title}\n`)
    console.log(line(columns))
    console.log(line(widths.map((width) => '-'.repeat(width))))
    for (const row of rows) console.log(line(row))
  }
}

/** Whole numbers with thousands apart. */
export const whole = (value) => Math.round(value).toLocaleString('en-US')
export const ratio = (value) => `${value.toFixed(2)} x`
export const microseconds = (value) => `${value.toFixed(value < 10 ? 2 : 0)} us`
export const milliseconds = (value) => `${value.toFixed(2)} ms`
