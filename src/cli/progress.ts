/** How far long work is, for people: a bar on a terminal, otherwise a line every five seconds. */
import { basename } from 'node:path'
import type { Progress } from '../encryption/progress.js'

/** Where it is written: `process.stderr` fits. */
export interface ProgressStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** Work that is over before is not worth a bar. */
const QUIET_MS = 1_000
const BAR_EVERY_MS = 100
const LINE_EVERY_MS = 5_000
const BAR_CELLS = 20
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
/** The names of files are whatever somebody gave them, and a terminal obeys control characters. */
const UNPRINTABLE = /\p{C}/gu

/** Shows one piece of work after the other; `end` before anything else is printed. */
export class ProgressDisplay {
  readonly #stream: ProgressStream
  readonly #now: () => number
  readonly #startedAt: number
  #shownAt: number
  #isBarShown = false
  #current = { what: '', since: 0, from: 0 }

  constructor(stream: ProgressStream, now: () => number = () => performance.now()) {
    this.#stream = stream
    this.#now = now
    this.#startedAt = now()
    this.#shownAt = this.#startedAt
  }

  readonly update = (path: string, progress: Progress): void => {
    const now = this.#now()
    const what = `${basename(path).replace(UNPRINTABLE, '\ufffd')}: ${progress.phase}`
    if (what !== this.#current.what) this.#current = { what, since: now, from: progress.doneBytes }
    const every = this.#isTerminal ? BAR_EVERY_MS : LINE_EVERY_MS
    if (now - this.#startedAt < QUIET_MS || now - this.#shownAt < every) return
    this.#shownAt = now
    const rate = ((progress.doneBytes - this.#current.from) * 1_000) / Math.max(1, now - this.#current.since)
    if (!this.#isTerminal) {
      this.#stream.write(`nimbus: ${progressLine(what, progress, rate)}\n`)
      return
    }
    this.#isBarShown = true
    const line = `${bar(progress)} ${progressLine(what, progress, rate)}`
    // A line that wraps could not be taken back.
    this.#stream.write(`\r${line.slice(0, Math.max(20, (this.#stream.columns ?? 80) - 1))}\u001b[K`)
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#isBarShown) this.#stream.write('\r\u001b[K')
    this.#isBarShown = false
  }

  get #isTerminal(): boolean {
    return this.#stream.isTTY === true
  }
}

function bar(progress: Progress): string {
  const cells = Math.round(share(progress) * BAR_CELLS)
  return `[${'#'.repeat(cells)}${' '.repeat(BAR_CELLS - cells)}]`
}

function progressLine(what: string, progress: Progress, bytesPerSecond: number): string {
  const percent = `${Math.floor(share(progress) * 100)} %`
  const size = `${bytesText(progress.doneBytes)} of ${bytesText(progress.totalBytes)}`
  if (bytesPerSecond < 1) return `${what} ${percent}, ${size}`
  const left = durationText((progress.totalBytes - progress.doneBytes) / bytesPerSecond)
  return `${what} ${percent}, ${size}, ${bytesText(bytesPerSecond)}/s, ${left} left`
}

function share({ doneBytes, totalBytes }: Progress): number {
  return totalBytes <= 0 ? 1 : Math.min(1, doneBytes / totalBytes)
}

function bytesText(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** unit
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit] ?? ''}`
}

function durationText(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`
}
