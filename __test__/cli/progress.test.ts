import { describe, expect, it } from 'vitest'
import { ProgressDisplay } from '../../src/cli/progress.js'

const MIB = 1024 * 1024

function display(stream: { isTTY?: boolean; columns?: number }) {
  let now = 0
  let text = ''
  const progress = new ProgressDisplay({ ...stream, write: (more) => (text += more) }, () => now)
  const at = (ms: number, doneMib: number, phase = 'copying', path = '/data/a.sqlite3'): void => {
    now = ms
    progress.update(path, { phase, doneBytes: doneMib * MIB, totalBytes: 1024 * MIB })
  }
  return { at, end: () => progress.end(), text: () => text }
}

describe('progress on a terminal', () => {
  it('is a bar with bytes, rate and the time that is left, in one line that is taken back at the end', () => {
    const { at, end, text } = display({ isTTY: true, columns: 120 })
    at(0, 0)
    at(900, 90)
    expect(text()).toBe('')
    at(2_000, 256)
    expect(text()).toBe(
      '\r[#####               ] a.sqlite3: copying 25 %, 256 MiB of 1.0 GiB, 128 MiB/s, 6 s left\u001b[K',
    )
    at(2_050, 300)
    end()
    expect(text()).toMatch(/\u001b\[K\r\u001b\[K$/)
    expect(text().split('\r')).toHaveLength(3)
  })

  it('never wraps, and shows a name that would speak to the terminal as harmless text', () => {
    const { at, text } = display({ isTTY: true, columns: 40 })
    at(0, 0)
    at(2_000, 1, 'copying', '/data/\u001b[31mred\n.sqlite3')
    const line = text().slice(1, -'\u001b[K'.length)
    expect(line.length).toBeLessThan(40)
    expect(line).not.toMatch(/[\u001b\n]/)
  })

  it('measures the rate of each phase by itself', () => {
    const { at, text } = display({ isTTY: true, columns: 120 })
    at(0, 0)
    at(10_000, 1_000)
    at(20_000, 0, 'checking')
    at(22_000, 100, 'checking')
    expect(text()).toContain('checking 9 %, 100 MiB of 1.0 GiB, 50.0 MiB/s, 19 s left')
  })
})

describe('progress elsewhere', () => {
  it('is a plain line every five seconds, and nothing for what is over before', () => {
    const { at, end, text } = display({})
    for (let ms = 0; ms <= 12_000; ms += 100) at(ms, (ms / 12_000) * 1024)
    end()
    const lines = text().trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    expect(lines[0]).toBe('nimbus: a.sqlite3: copying 41 %, 427 MiB of 1.0 GiB, 85.3 MiB/s, 7 s left')
    expect(text()).not.toContain('\r')
  })

  it('speaks of hours where it takes them, and of nothing when nothing is known', () => {
    const { at, text } = display({})
    at(0, 0)
    at(5_000, 0)
    at(10_000, 1)
    expect(text()).toBe(
      'nimbus: a.sqlite3: copying 0 %, 0 B of 1.0 GiB\n' +
        'nimbus: a.sqlite3: copying 0 %, 1.0 MiB of 1.0 GiB, 102 KiB/s, 2 h 50 min left\n',
    )
  })
})
