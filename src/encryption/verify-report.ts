/** What a verification found of one file, in the form in which it goes over HTTP and to stdout. */
import { ERROR_CODES } from '../errors.js'
import type { VerifyResult } from './verify.js'

export interface VerifyReport {
  readonly path: string
  readonly outcome: VerifyResult['outcome']
  readonly pages?: number
  readonly log_pages?: number
  readonly damaged_pages?: readonly number[]
  readonly unreferenced_pages?: readonly number[]
  readonly note?: string
}

/** Of the pages that are named: the rest is counted. */
const NAMED_PAGES = 20
const INTEGRITY = ERROR_CODES.file_corrupt.exitCode

export function isWhole({ outcome }: Pick<VerifyReport, 'outcome'>): boolean {
  return outcome === 'sound' || outcome === 'empty'
}

export function reportOf(result: VerifyResult): VerifyReport {
  const { path, outcome } = result
  if (result.outcome === 'empty') return { path, outcome, note: 'the cache is rebuilt from the remote primary' }
  if (result.outcome === 'failed') {
    const { message, remediation } = result.error
    return { path, outcome, note: `${message}. ${remediation}` }
  }
  const { pages, logPages, damaged, unreferenced } = result.findings
  const notes = [
    damaged.length > 0 && `${named(damaged)} lost: restore the file and its manifest from the backup`,
    unreferenced.length > 0 && `${named(unreferenced)} damaged, and nothing uses them: a crash leaves such pages`,
  ].filter((note) => note !== false)
  return {
    path,
    outcome,
    pages,
    log_pages: logPages,
    damaged_pages: damaged,
    unreferenced_pages: unreferenced,
    ...(notes.length === 0 ? {} : { note: notes.join('; ') }),
  }
}

/**
 * What is wrong with the file itself, in one sentence; undefined if that is nothing, or if the examination failed for another reason
 * than the file: a key that cannot be had, a disk that is out.
 */
export function defectOf(result: VerifyResult): string | undefined {
  switch (result.outcome) {
    case 'sound':
    case 'empty':
      return undefined
    case 'damaged':
      return `${named(result.findings.damaged)} lost`
    case 'failed':
      return ERROR_CODES[result.error.code].exitCode === INTEGRITY
        ? `${result.error.code}: ${result.error.message}`
        : undefined
  }
}

function named(pages: readonly number[]): string {
  const list = pages.slice(0, NAMED_PAGES).join(', ')
  const rest = pages.length > NAMED_PAGES ? ` and ${String(pages.length - NAMED_PAGES)} more` : ''
  return `${pages.length === 1 ? 'page' : 'pages'} ${list}${rest}`
}
