/**
 * Another program that uses a file: Signal's SQLCipher runs the statements of each line it reads, and answers with a line.
 *
 *     signal.ts <file> <key in hex>
 */
import { createInterface } from 'node:readline'
import { writeSync } from 'node:fs'
import Database from '@signalapp/sqlcipher'

const [file = '', key = ''] = process.argv.slice(2)
const database = new Database(file)
database.pragma(`key = "x'${key}'"`)

const answer = (line: object): void => {
  writeSync(1, `${JSON.stringify(line)}\n`)
}
createInterface({ input: process.stdin })
  .on('line', (line) => {
    try {
      let rows: unknown[] = []
      for (const sql of JSON.parse(line) as string[]) rows = database.prepare(sql).all()
      answer({ rows })
    } catch (error) {
      answer({ error: error instanceof Error ? error.message : String(error) })
    }
  })
  .on('close', () => {
    database.close()
  })
