import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { AdminToken, rotateAdminToken } from '../../src/server/admin-token.js'
import { temporaryDirectory } from '../support/directory.js'
import { failureOf } from '../support/failure.js'

function newFile(): string {
  return path.join(temporaryDirectory(), 'nimbus', 'auth', 'token')
}

function tokenIn(file: string): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { token: string }).token
}

describe('the admin token', () => {
  it('is made when there is none, for its owner only', () => {
    const file = newFile()
    const token = AdminToken.loadOrCreate(file)
    expect(token.accepts(tokenIn(file))).toBe(true)
    expect(tokenIn(file)).toMatch(/^nimbus_[A-Za-z0-9_-]{43}$/)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700)
    expect(token.warnings()).toEqual([])
  })

  it('is kept when there is one', () => {
    const file = newFile()
    AdminToken.loadOrCreate(file)
    const before = readFileSync(file)
    expect(AdminToken.loadOrCreate(file).accepts(tokenIn(file))).toBe(true)
    expect(readFileSync(file)).toEqual(before)
  })

  it.each(['', 'x', 'Bearer', 'ünïcödé', 'x'.repeat(10_000)])('does not accept %j', (presented) => {
    expect(AdminToken.loadOrCreate(newFile()).accepts(presented)).toBe(false)
  })

  it('does not accept a prefix, an extension or other letters of the same', () => {
    const file = newFile()
    const token = AdminToken.loadOrCreate(file)
    const good = tokenIn(file)
    for (const bad of [good.slice(0, -1), `${good}a`, good.toUpperCase(), ` ${good}`]) {
      expect(token.accepts(bad)).toBe(false)
    }
  })

  it('follows a rotation at once, and forgets the old token with it', () => {
    const file = newFile()
    const token = AdminToken.loadOrCreate(file)
    const old = tokenIn(file)
    expect(token.accepts(old)).toBe(true)
    rotateAdminToken(file)
    expect(token.accepts(tokenIn(file))).toBe(true)
    expect(token.accepts(old)).toBe(false)
  })

  it('stays as it is while its file is gone, malformed or unreadable', () => {
    const file = newFile()
    const token = AdminToken.loadOrCreate(file)
    const good = tokenIn(file)
    const spoils = [
      () => {
        writeFileSync(file, '{"token":')
      },
      () => {
        writeFileSync(file, '{"token":"short"}')
      },
      () => {
        rmSync(file)
      },
      () => {
        mkdirSync(file)
      },
    ]
    for (const spoil of spoils) {
      spoil()
      expect(token.accepts('wrong')).toBe(false)
      expect(token.accepts(good)).toBe(true)
    }
  })

  it('warns when others can read it, with the remedy', () => {
    const file = newFile()
    AdminToken.loadOrCreate(file)
    chmodSync(file, 0o644)
    expect(AdminToken.loadOrCreate(file).warnings()).toEqual([
      `the admin token file ${file} is open to others (mode 644): chmod 600 ${file}`,
    ])
  })

  it.each(['', '[]', 'null', '{}', '{"token":1}', '{"token":"with space in it and long enough for one"}'])(
    'is refused as %j, without being repeated',
    (content) => {
      const file = newFile()
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, content)
      const error = failureOf(() => AdminToken.loadOrCreate(file))
      expect(error.code).toBe('config_invalid')
      expect(error.message).toContain(file)
      expect(error.message).not.toContain('with space')
      expect(error.remediation).toContain('nimbus token rotate')
      rotateAdminToken(file)
      expect(AdminToken.loadOrCreate(file).accepts(tokenIn(file))).toBe(true)
    },
  )
})
