import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { mapBounded } from '../../src/encryption/bounded.js'
import { unlock } from '../../src/encryption/unlock.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { genuine } from '../encryption/setup.js'
import { newHome, runNimbus, spawnNimbus } from '../support/cli.js'
import { writeIn } from '../support/directory.js'

const FILES = 10_000

it('rotate-kek --all over 10,000 manifests, killed half-way and run again, leaves every one under the new key', async () => {
  const home = newHome()
  mkdirSync(home.dataDir, { recursive: true, mode: 0o700 })
  const from = await openMasterKeyFile(home.keyFile, [])
  const tenants = Array.from({ length: FILES }, (_, at) => `tenant-${at}`)
  await mapBounded(tenants, 16, async (tenant) => {
    const { bytes, dek } = await genuine(from, { subject: { family: 'sqlite_tenant', tenant } })
    dek.close()
    writeFileSync(path.join(home.dataDir, `${tenant}.sqlite3.nimbus-enc`), bytes, { mode: 0o600 })
  })
  from.close()
  const key = writeIn(home.root, 'new.key', randomBytes(32), 0o400)
  const args = ['encryption', 'rotate-kek', '--path', home.dataDir, '--all', '--new-master-key-file', key]
  const killed = spawnNimbus(args, home.env)
  killed.process.stdout?.once('data', () => killed.process.kill('SIGKILL'))
  expect(await killed.finished).toMatchObject({ signal: 'SIGKILL' })

  const again = await runNimbus([...args, '--format', 'json'], home.env)
  expect(again.code, again.stderr).toBe(0)
  const { results } = JSON.parse(again.stdout) as { results: { outcome: string }[] }
  const count = (outcome: string): number => results.filter((result) => result.outcome === outcome).length
  expect(count('rotated') + count('skipped')).toBe(FILES)
  expect(count('rotated'), 'it was killed before the end').toBeGreaterThan(0)
  expect(count('skipped'), 'what was done before stays done').toBeGreaterThan(0)

  const to = await openMasterKeyFile(key, [])
  onTestFinished(() => to.close())
  await mapBounded(tenants, 16, async (tenant) => {
    const file = await unlock(path.join(home.dataDir, `${tenant}.sqlite3`), { family: 'sqlite_tenant', tenant }, to)
    expect(file?.manifest.state, tenant).toBe('active')
    file?.dek.close()
  })
  expect(readdirSync(home.dataDir).filter((name) => name.endsWith('.tmp'))).toEqual([])
}, 120_000)
