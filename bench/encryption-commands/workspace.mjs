/** A folder with a key and databases in it, and `nimbus encryption` run on them, each command as a process of its own. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { KvStore, SqliteStore } from '../../dist/native.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const peakRecorder = new URL('peak.mjs', import.meta.url).href
// Beside the results and not in the temporary folder, which is often in memory, where an fsync costs nothing.
const results = fileURLToPath(new URL('../results/', import.meta.url))

/**
 * @template T
 * @param {(workspace: Workspace) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function withWorkspace(use) {
  mkdirSync(results, { recursive: true })
  const folder = mkdtempSync(join(results, 'commands-'))
  try {
    return await use(new Workspace(folder))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export class Workspace {
  constructor(folder) {
    this.folder = folder
    this.data = join(folder, 'data')
    mkdirSync(this.data)
    this.key = this.makeKey('master.key')
  }

  /** A master key file, not in the data directory. */
  makeKey(name) {
    const path = join(this.folder, name)
    writeFileSync(path, randomBytes(32), { mode: 0o400 })
    return path
  }

  /**
   * Runs `nimbus encryption ...args` to its end; throws unless it succeeds.
   *
   * @returns {{ ms: number, peakMiB: number }} from the start of the process to its end, and the most memory that it had
   */
  encryption(args) {
    const peak = join(this.folder, 'peak')
    const env = {
      NIMBUS_DATA_DIR: this.data,
      NIMBUS_ENCRYPTION_KEY_PROVIDER: 'master-key-file',
      NIMBUS_ENCRYPTION_MASTER_KEY_FILE: this.key,
      NIMBUS_BENCH_PEAK_FILE: peak,
    }
    const ms = durationOf(process.execPath, ['--import', peakRecorder, main, 'encryption', ...args], { env })
    return { ms, peakMiB: Number(readFileSync(peak, 'utf8')) / 1024 }
  }
}

/** Milliseconds that a process takes; throws unless it succeeds. */
export function durationOf(program, args, options = {}) {
  const startedAt = performance.now()
  const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 64 * 2 ** 20, ...options })
  const ms = performance.now() - startedAt
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${error ?? stderr}`)
  return ms
}

const BATCH = 10_000

/** A plain SQLite database of about so many MiB: rows of 1,000 random bytes, an index over their titles. */
export async function makeSqlite(path, mebibytes) {
  const store = SqliteStore.open({ path, mode: 'create', exclusive: true })
  await store.write([{ sql: 'CREATE TABLE notes (title TEXT, body BLOB)' }])
  await store.write([{ sql: 'CREATE INDEX by_title ON notes (title)' }])
  const batches = Math.ceil((mebibytes * 900) / BATCH)
  for (let batch = 0; batch < batches; batch++) {
    const sql = `WITH RECURSIVE n (x) AS (SELECT ${batch * BATCH} UNION ALL SELECT x + 1 FROM n LIMIT ${BATCH})
      INSERT INTO notes SELECT printf('note %09d', x), randomblob(1000) FROM n`
    await store.write([{ sql }])
  }
  await store.close()
}

/** A plain redb database of about so many MiB: values of 1,000 random bytes. */
export async function makeRedb(path, mebibytes) {
  const store = KvStore.open({ path, mode: 'create' })
  const batches = Math.ceil((mebibytes * 960) / BATCH)
  for (let batch = 0; batch < batches; batch++) {
    await store.write(
      Array.from({ length: BATCH }, (_, at) => ({
        table: 'notes',
        key: Buffer.from(String(batch * BATCH + at).padStart(12, '0')),
        value: randomBytes(1000),
      })),
    )
  }
  await store.close()
}
