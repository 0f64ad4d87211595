/**
 * Has asynchronous writes under way without end, each of three rows of one number. Each number whose promise was fulfilled is a line.
 *
 *     async-writes.ts <file> <kind> <SIGKILL or process.exit> <lines before that>
 */
import { writeSync } from 'node:fs'
import { Database } from '../../../src/index.js'
import { kinds } from '../kinds.js'

const [file = '', kind = '', end = '', last = ''] = process.argv.slice(2)
const database = new Database(file, kinds[kind])
const AT_ONCE = 20
let asked = 0
let lines = 0

async function write(): Promise<void> {
  for (;;) {
    const number = (asked += 1)
    await database.async.run(
      "INSERT INTO t (number, part, text) SELECT $number, value, $text FROM json_each('[1,2,3]')",
      { number, text: `${number} `.repeat(number % 500) },
    )
    writeSync(1, `${number}\n`)
    lines += 1
    if (lines !== Number(last)) continue
    if (end === 'SIGKILL') process.kill(process.pid, end)
    process.exit(0)
  }
}

await Promise.all(Array.from({ length: AT_ONCE }, write))
