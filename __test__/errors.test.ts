import { describe, expect, it } from 'vitest'
import { ERROR_CODES, NimbusError, fromSystemError, toErrorBody, toNimbusError } from '../src/errors.js'

describe('the table of codes', () => {
  const entries = Object.entries(ERROR_CODES)

  it.each(entries)('has for %s a status of failure, an exit code, a meaning and one thing to do', (_code, info) => {
    expect(info.httpStatus).toBeGreaterThanOrEqual(400)
    expect(info.httpStatus).toBeLessThan(600)
    expect(info.exitCode).toBeGreaterThan(0)
    expect(info.meaning).toMatch(/\.$/)
    expect(info.remedy).toMatch(/\.$/)
  })

  it('never asks a client to repeat what cannot succeed', () => {
    for (const [code, { retryable, httpStatus }] of entries) {
      if (retryable) expect([503, 507], code).toContain(httpStatus)
    }
  })

  it.each([
    [2, ['encryption_not_configured', 'target_exists', 'unsupported_for_provider', 'encrypted_but_disabled']],
    [3, ['key_missing', 'key_malformed', 'key_wrong']],
    [4, ['unauthorized', 'forbidden', 'kms_key_not_found', 'kms_denied', 'kms_unavailable', 'kms_throttled']],
    [5, ['manifest_missing', 'manifest_altered', 'manifest_mismatch', 'data_missing', 'file_corrupt']],
    [6, ['file_busy']],
  ])('ends a command with %i for exactly these', (exitCode, codes) => {
    const found = entries.filter(([, info]) => info.exitCode === exitCode).map(([code]) => code)
    expect(found).toEqual(expect.arrayContaining(codes))
    if (exitCode > 2) expect(found.sort()).toEqual([...codes].sort())
  })
})

describe('an error', () => {
  it('has the remedy of its code unless it knows a better one', () => {
    expect(new NimbusError('file_busy', 'x').remediation).toBe(ERROR_CODES.file_busy.remedy)
    expect(new NimbusError('file_busy', 'x', { remediation: 'Wait.' }).remediation).toBe('Wait.')
  })

  it('becomes the object that HTTP and stderr carry', () => {
    const error = new NimbusError('version_conflict', 'it is at version 3', { remediation: 'Read it again.' })
    expect(toErrorBody(error, 'r-1')).toEqual({
      error: {
        code: 'version_conflict',
        message: 'it is at version 3',
        request_id: 'r-1',
        retryable: false,
        remediation: 'Read it again.',
      },
    })
  })

  it('names the offending field of a request, and no path of a file', () => {
    expect(toErrorBody(new NimbusError('schema_violation', 'x', { path: 'title' })).error.path).toBe('title')
    expect(toErrorBody(new NimbusError('file_corrupt', 'x', { path: '/d/x.sqlite3' })).error).not.toHaveProperty('path')
  })

  it('that nobody foresaw becomes internal, without its text', () => {
    const error = toNimbusError(new Error('secret'))
    expect(error.code).toBe('internal')
    expect(JSON.stringify(toErrorBody(error))).not.toContain('secret')
    expect(toNimbusError(error)).toBe(error)
  })

  it.each([
    ['ENOSPC', 'disk_full'],
    ['EDQUOT', 'disk_full'],
    ['EACCES', 'data_dir_unwritable'],
    ['EROFS', 'data_dir_unwritable'],
    ['EIO', 'io_error'],
  ])('of the operating system, %s, becomes %s and names the file', (errno, code) => {
    const error = fromSystemError(Object.assign(new Error('native text'), { code: errno }), 'write', '/d/x')
    expect(error).toMatchObject({ code, path: '/d/x', message: `cannot write /d/x: ${errno}` })
  })
})
