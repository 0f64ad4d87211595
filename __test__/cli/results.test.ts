import { describe, expect, it } from 'vitest'
import type { Format } from '../../src/cli/command.js'
import { type FileResult, printResults } from '../../src/cli/results.js'

function printed(format: Format, results: FileResult[]): string {
  let text = ''
  printResults('encryption migrate', results, {
    env: {},
    format,
    print: (more) => (text += more),
    warn: () => undefined,
  })
  return text
}

const RESULTS = [
  { path: '/data/a.sqlite3.encrypted', outcome: 'migrated', note: 'Rename it.' },
  { path: '/data/b.sqlite3', outcome: 'skipped' },
]

describe('the results of a command', () => {
  it('are one JSON object', () => {
    expect(JSON.parse(printed('json', RESULTS))).toEqual({ command: 'encryption migrate', results: RESULTS })
  })

  it('are a line a file for people, the note below it', () => {
    expect(printed('human', RESULTS)).toBe(
      'migrated: /data/a.sqlite3.encrypted\n  Rename it.\nskipped: /data/b.sqlite3\n',
    )
  })

  it('show a name that would speak to the terminal as harmless text', () => {
    expect(printed('human', [{ path: '/data/\u001b[31m\n', outcome: 'migrated' }])).toBe(
      'migrated: /data/\ufffd[31m\ufffd\n',
    )
  })
})
