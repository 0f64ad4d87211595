import { createInterface } from 'node:readline'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { unlock } from '../../src/encryption/unlock.js'
import { startChild } from '../support/child.js'
import { DEMO, namesIn, place } from './setup.js'

const RACER = new URL('./child/racer.ts', import.meta.url)
const ROUNDS = 200
const RACERS = 3

describe('processes that create the same file at once', () => {
  it('end with one DEK: one of them has it, and the others are told that the file exists', async () => {
    const { dataDir, keyFile, provider } = await place()
    const racers = Array.from({ length: RACERS }, () => startChild(RACER, [keyFile]))
    const lines = racers.map(({ stdout }) => {
      if (stdout === null) throw new Error('stdout is a pipe')
      return createInterface({ input: stdout })[Symbol.asyncIterator]()
    })
    const answers = async () => Promise.all(lines.map(async (line) => String((await line.next()).value)))
    expect(new Set(await answers())).toEqual(new Set(['ready']))

    const winners = new Set<number>()
    for (let round = 0; round < ROUNDS; round++) {
      const file = path.join(dataDir, `${round}.sqlite3`)
      // The first to be told has a head start, so each is told first in its turn.
      for (let turn = 0; turn < RACERS; turn++) racers[(round + turn) % RACERS]?.stdin?.write(`${file}\n`)
      const said = await answers()
      const made = said.filter((answer) => answer !== 'target_exists')
      expect(made, `round ${round}: ${said.join()}`).toHaveLength(1)
      winners.add(said.findIndex((answer) => answer !== 'target_exists'))

      const opened = await unlock(file, DEMO, provider)
      const commitment = opened?.dek.commitment(opened.manifest.current.salt) ?? Buffer.of()
      expect(Buffer.from(commitment).toString('hex')).toBe(made[0])
      opened?.dek.close()
    }
    expect(namesIn(dataDir)).toHaveLength(ROUNDS)
    expect(namesIn(dataDir).every((name) => readFileSync(path.join(dataDir, name)).at(-1) === 0x0a)).toBe(true)
    // It was a race: no process won all of them.
    expect(winners.size).toBeGreaterThan(1)
    for (const racer of racers) racer.stdin?.end()
  }, 60_000)
})
