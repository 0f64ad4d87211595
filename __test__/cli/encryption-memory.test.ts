/** The memory of a command does not grow with its file: 100 MB here, 600 MB with `NIMBUS_LONG=1`, 4 GB in `bench`. */
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { KvStore, SqliteStore } from '../../src/native.js'
import { newHome, runNimbus } from '../support/cli.js'

const MEGABYTES = process.env['NIMBUS_LONG'] === '1' ? 600 : 100
const MOST_MIB = 150
const RECORDER = new URL('../support/peak-memory.mjs', import.meta.url).href
/** Rows of 1,000 bytes. */
const BATCH = 10_000
const BATCHES = MEGABYTES / 10

const MAKE = {
  async sqlite(file: string): Promise<void> {
    const store = SqliteStore.open({ path: file, mode: 'create', exclusive: true })
    await store.write([{ sql: 'CREATE TABLE notes (id INTEGER PRIMARY KEY, body BLOB)' }])
    for (let batch = 0; batch < BATCHES; batch++) {
      const rows = `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT ${BATCH})`
      await store.write([{ sql: `${rows} INSERT INTO notes (body) SELECT randomblob(1000) FROM n` }])
    }
    await store.close()
  },
  async redb(file: string): Promise<void> {
    const store = KvStore.open({ path: file, mode: 'create' })
    for (let batch = 0; batch < BATCHES; batch++) {
      const keys = Array.from({ length: BATCH }, (_, at) => Buffer.from(String(batch * BATCH + at)))
      await store.write(keys.map((key) => ({ table: 'notes', key, value: Buffer.alloc(1000, key) })))
    }
    await store.close()
  },
}

it.each(['sqlite', 'redb'] as const)(
  `every command on a %s file of ${MEGABYTES} MB stays under ${MOST_MIB} MiB`,
  async (kind) => {
    const home = newHome()
    mkdirSync(home.dataDir, { mode: 0o700 })
    const plain = path.join(home.dataDir, 'plain')
    await MAKE[kind](plain)
    expect(statSync(plain).size).toBeGreaterThan(MEGABYTES * 1e6)
    const file = `${plain}.encrypted`
    const subject = ['--provider', kind, '--tenant-id', 'demo']
    const commands = [
      ['migrate', '--source', plain, ...subject, '--retire-source'],
      ['verify', '--path', file],
      ['rotate-dek', '--path', file, ...subject],
      ['export', '--source', file, '--target', plain, ...subject],
    ]
    const peak = path.join(home.root, 'peak')
    const env = { ...home.env, NODE_OPTIONS: `--import ${RECORDER}`, NIMBUS_TEST_PEAK: peak }
    for (const args of commands) {
      const { code, stderr } = await runNimbus(['encryption', ...args], env)
      expect(code, stderr).toBe(0)
      expect(Number(readFileSync(peak, 'utf8')) / 1024, args[0]).toBeLessThan(MOST_MIB)
    }
  },
  240_000,
)
