/** One trial in a process of its own: `node trial.mjs <peer> <measurement> <directory>` prints nanoseconds for each operation. */
import { join } from 'node:path'
import { peers } from './peers.mjs'

const [, , peer, measurement, directory] = process.argv
const { open } = peers[peer]
const rows = 10_000
/** Together larger than any of the caches, which are left at their defaults: 16 MB, and 64 MiB of nimbus, encrypted, exclusive. */
const largeRows = 120_000
const name = join(directory, peer.replaceAll(/\W+/g, '-'))
const file = `${name}.sqlite3`
const large = `${name}-large.sqlite3`

/** Four columns: an integer, a short and a longer text, a double. */
const row = (id) => [
  id,
  `user ${String(id).padStart(6, '0')}`,
  id * 1.5,
  `somewhere in a street, number ${id}, of a town`.padEnd(46, '.'),
]

/** Each returns how long one operation took; what it needs beforehand is not counted. */
const measurements = {
  get: (database) => {
    const statement = database.prepare('SELECT id, name, score, address FROM t WHERE id = ?')
    return timed(40_000, (turn) => statement.get([(turn * 7919) % rows]))
  },
  'get in a transaction': (database) => {
    const statement = database.prepare('SELECT id, name, score, address FROM t WHERE id = ?')
    database.exec('BEGIN')
    const time = timed(80_000, (turn) => statement.get([(turn * 7919) % rows]))
    database.exec('COMMIT')
    return time
  },
  'all 100, per row': (database) => {
    const statement = database.prepare('SELECT id, name, score, address FROM t WHERE id >= ? LIMIT 100')
    return timed(1_000, (turn) => statement.all([(turn * 7919) % (rows - 100)])) / 100
  },
  'all 10,000, per row': (database) => {
    const statement = database.prepare('SELECT id, name, score, address FROM t')
    return timed(20, () => statement.all([])) / rows
  },
  'iterate, per row': (database) => {
    const statement = database.prepare('SELECT id, name, score, address FROM t')
    if (typeof statement.iterate !== 'function') return null
    return (
      timed(20, () => {
        for (const { id } of statement.iterate([])) if (id < 0) throw new Error('never')
      }) / rows
    )
  },
  'run in a transaction': (database) => {
    const statement = database.prepare('UPDATE t SET score = ? WHERE id = ?')
    database.exec('BEGIN')
    const time = timed(40_000, (turn) => statement.run([turn, (turn * 7919) % rows]))
    database.exec('ROLLBACK')
    return time
  },
  'insert 1,000 in a transaction, per row': (database) => {
    database.exec(
      'CREATE TABLE IF NOT EXISTS i (id INTEGER PRIMARY KEY, name TEXT, score REAL, address TEXT); DELETE FROM i',
    )
    const statement = database.prepare('INSERT INTO i (name, score, address) VALUES (?, ?, ?)')
    const given = Array.from({ length: 1_000 }, (_, id) => row(id).slice(1))
    const time = timed(20, () => {
      database.exec('BEGIN')
      for (const values of given) statement.run(values)
      database.exec('COMMIT')
    })
    return time / 1_000
  },
  'open and first read': () =>
    timed(
      40,
      () => {
        const database = open(file)
        database.prepare('SELECT name FROM t WHERE id = ?').get([5])
        database.close()
      },
      5,
    ),
  'get, uniformly over 130 MB': (database) => {
    const statement = database.prepare('SELECT id, text FROM large WHERE id = ?')
    let state = 1
    const next = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % largeRows
    return timed(60_000, () => statement.get([next()]), 60_000)
  },
  'first scan of 130 MB, per row': (database) => {
    const statement = database.prepare('SELECT sum(length(text)) AS total FROM large')
    return timed(1, () => statement.get([]), 0) / largeRows
  },
}
const usesLarge = (measurement) => measurement.endsWith('130 MB') || measurement.startsWith('first scan')

/** Nanoseconds for each of `times` calls, after some that are not counted. */
function timed(times, work, warmUp = Math.ceil(times / 4)) {
  for (let turn = 0; turn < warmUp; turn += 1) work(turn)
  const startedAt = process.hrtime.bigint()
  for (let turn = 0; turn < times; turn += 1) work(turn)
  return Number(process.hrtime.bigint() - startedAt) / times
}

if (measurement === 'fill') {
  const database = open(file)
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, score REAL, address TEXT)')
  const insert = database.prepare('INSERT INTO t VALUES (?, ?, ?, ?)')
  database.exec('BEGIN')
  for (let id = 0; id < rows; id += 1) insert.run(row(id))
  database.exec('COMMIT')
  database.close()
  const second = open(large)
  second.exec('CREATE TABLE large (id INTEGER PRIMARY KEY, text TEXT)')
  const insertLarge = second.prepare('INSERT INTO large VALUES (?, ?)')
  second.exec('BEGIN')
  for (let id = 0; id < largeRows; id += 1) insertLarge.run([id, `text ${id} `.repeat(90).slice(0, 1_000)])
  second.exec('COMMIT')
  second.close()
} else {
  const database = measurement === 'open and first read' ? undefined : open(usesLarge(measurement) ? large : file)
  console.log(JSON.stringify(measurements[measurement](database)))
}
