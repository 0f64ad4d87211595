import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { NimbusLevel } from '../../src/kv/level.js'
import { randomBytes } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'

const SUITE = fileURLToPath(new URL('child/level-suite.mjs', import.meta.url))
/** The suite makes hundreds of databases and is about what they answer: in memory its syncs cost nothing. */
const IN_MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

function runSuite(form: string): Promise<{ code: number | null; printed: string }> {
  const folder = mkdtempSync(path.join(IN_MEMORY, 'nimbus-level-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [SUITE, folder, form], { stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.on('data', (chunk) => (printed += String(chunk)))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, printed }))
  })
}

describe('NimbusLevel', () => {
  it.each(['plain', 'sealed'])(
    'passes the whole suite of abstract-level on %s files',
    async (form) => {
      const { code, printed } = await runSuite(form)
      const failures = printed.split('\n').filter((line) => line.startsWith('not ok'))
      expect(failures).toEqual([])
      expect(code).toBe(0)
      // What the suite runs depends on what the database says that it supports.
      expect(Number(/^# tests (\d+)$/m.exec(printed)?.[1])).toBeGreaterThan(5000)
    },
    300_000,
  )

  it('keeps a database sealed under its key, and opens it again after it was closed and the key wiped', async () => {
    const location = path.join(temporaryDirectory(), 'a.redb')
    const key = randomBytes(32)
    const kept = key.slice()
    const db = new NimbusLevel<string, { name: string }>(location, { key, valueEncoding: 'json' })
    key.fill(0)
    await db.put('ada', { name: 'Ada Lovelace' })
    await db.close()
    expect(readFileSync(location).includes('Lovelace')).toBe(false)
    await db.open()
    expect(await db.get('ada')).toEqual({ name: 'Ada Lovelace' })
    await db.close()
    const other = new NimbusLevel(location, { key: randomBytes(32) })
    await expect(other.open()).rejects.toMatchObject({
      code: 'LEVEL_DATABASE_NOT_OPEN',
      cause: { code: 'key_wrong', path: location },
    })
    const again = new NimbusLevel(location, { key: kept })
    expect(await again.get('ada')).toBe('{"name":"Ada Lovelace"}')
    await again.close()
  })

  it('makes a write with sync: false eventual: seen at once', async () => {
    const db = new NimbusLevel(path.join(temporaryDirectory(), 'a.redb'))
    await db.put('a', '1', { sync: false })
    await db.batch([{ type: 'put', key: 'b', value: '2' }], { sync: false })
    expect([db.getSync('a'), db.getSync('b')]).toEqual(['1', '2'])
    await db.close()
    await db.open()
    expect([db.getSync('a'), db.getSync('b')]).toEqual(['1', '2'])
    await db.close()
  })
})
