/** Writes help from the tables of commands and settings. */
import type { Command, HelpFlag, HelpSection } from './command.js'
import type { CommandEntry } from './commands.js'

const WIDTH = 100

const EVERYWHERE: HelpSection = {
  title: 'Everywhere',
  flags: [
    { flag: '--format', value: '<human|json>', help: 'How results and errors are written; human by default.' },
    { flag: '--help', value: null, help: 'Print this.' },
  ],
}

export function overview(entries: readonly CommandEntry[]): string {
  const rows = entries.map(({ name, summary }): [string, string] => [`nimbus ${name}`, summary])
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, summary]) => `  ${name.padEnd(width)}  ${summary}`)
  return `Encrypted embedded storage.\n\n${lines.join('\n')}\n\nnimbus <command> --help tells more; nimbus --version the version.\n`
}

export function commandHelp(name: string, { usage, description, sections }: Command): string {
  const head = `usage: nimbus ${name} ${usage}`.trimEnd()
  const body = [...sections, EVERYWHERE].map(sectionText)
  return `${head}\n\n${wrap(description, WIDTH).join('\n')}\n\n${body.join('\n\n')}\n`
}

function sectionText({ title, flags }: HelpSection): string {
  return [`${title}:`, ...flags.flatMap(flagLines)].join('\n')
}

function flagLines({ flag, value, help, notes = [] }: HelpFlag): string[] {
  const head = value === null ? flag : `${flag} ${value}`
  return [`  ${head}`, ...[help, ...notes].flatMap((text) => wrap(text, WIDTH - 6)).map((line) => `      ${line}`)]
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line]
}
