/** Statements that take as long as a test of asynchronous ones wants, and databases that are asked for them. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { Database, type DatabaseOptions } from '../../src/index.js'
import { temporaryDirectory } from '../support/directory.js'
import { KEY } from './kinds.js'

/** Would take hours. */
export const ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n'

/** Rows of one column `i`, from 1. */
export const count = (rows: number): string =>
  `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT i FROM n`

/** What a process has for all its databases ("Asynchronous statements" in docs/library.md). */
export const READERS = 4

/** A database in WAL mode with a table `t`, closed when the test is over. */
export function opened(options: DatabaseOptions = { key: KEY }): Database {
  const directory = path.join(temporaryDirectory(), 'data')
  mkdirSync(directory)
  const database = new Database(path.join(directory, 'app.sqlite3'), options)
  onTestFinished(() => void database.close())
  database.pragma('journal_mode = WAL')
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b)')
  return database
}

/** Has every reader thread of the process busy; what is returned ends that. */
export function occupyReaders(): () => Promise<void> {
  const database = opened({})
  const controller = new AbortController()
  const busy = Array.from({ length: READERS }, () => database.async.with({ signal: controller.signal }).get(ENDLESS))
  const ended = Promise.allSettled(busy)
  return async () => {
    controller.abort()
    await ended
  }
}

/** Turns of the event loop, so that native threads and promises get on. */
export async function turns(number: number): Promise<void> {
  for (let turn = 0; turn < number; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
