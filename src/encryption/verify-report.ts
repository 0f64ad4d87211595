/** What a verification found of one file, in the form in which it goes over HTTP and to stdout. */
import { ERROR_CODES, type ExitCode, type NimbusErrorCode, isErrorCode } from '../errors.js'
import type { VerifyResult } from './verify.js'

export interface VerifyReport {
  readonly path: string
  readonly outcome: VerifyResult['outcome']
  readonly pages?: number
  readonly log_pages?: number
  /** The first of them, and how many there are. */
  readonly damaged_pages?: readonly number[]
  readonly damaged_page_count?: number
  readonly unreferenced_pages?: readonly number[]
  readonly unreferenced_page_count?: number
  /** Of a file that could not be examined. */
  readonly code?: NimbusErrorCode
  readonly note?: string
}

/** Of the pages that a note names: the rest is counted. */
const NAMED_PAGES = 20
/** Of the pages that a report lists: a file of gigabytes under a wrong disk has millions, and a server keeps its reports in memory. */
export const LISTED_PAGES = 1_000
const INTEGRITY = ERROR_CODES.file_corrupt.exitCode

export function isWhole({ outcome }: Pick<VerifyReport, 'outcome'>): boolean {
  return outcome === 'sound' || outcome === 'empty'
}

export function reportOf(result: VerifyResult): VerifyReport {
  const { path, outcome } = result
  if (result.outcome === 'empty') return { path, outcome, note: 'the cache is rebuilt from the remote primary' }
  if (result.outcome === 'failed') {
    const { code, message, remediation } = result.error
    return { path, outcome, code, note: `${message}. ${remediation}` }
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
    damaged_pages: damaged.slice(0, LISTED_PAGES),
    damaged_page_count: damaged.length,
    unreferenced_pages: unreferenced.slice(0, LISTED_PAGES),
    unreferenced_page_count: unreferenced.length,
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

/** 0 if all are whole, 5 if one is not; if some could not be examined, and nothing is known to be wrong, the first one's reason. */
export function exitCodeOf(reports: readonly { outcome: string; code?: string | undefined }[]): ExitCode | 0 {
  const codes = reports.map(({ outcome, code }): ExitCode | 0 => {
    if (outcome === 'sound' || outcome === 'empty') return 0
    return outcome === 'failed' && code !== undefined && isErrorCode(code) ? ERROR_CODES[code].exitCode : INTEGRITY
  })
  return codes.includes(INTEGRITY) ? INTEGRITY : (codes.find((code) => code !== 0) ?? 0)
}

function named(pages: readonly number[]): string {
  const list = pages.slice(0, NAMED_PAGES).join(', ')
  const rest = pages.length > NAMED_PAGES ? ` and ${String(pages.length - NAMED_PAGES)} more` : ''
  return `${pages.length === 1 ? 'page' : 'pages'} ${list}${rest}`
}
