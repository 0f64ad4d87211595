/** The libraries that are measured, each opened with its own means of the same settings; encrypted with the same raw key. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const hex = '5a'.repeat(32)
const key = () => Buffer.from(hex, 'hex')

const node24 = fileURLToPath(new URL(`../node_modules/node-24-${process.arch}/bin/node`, import.meta.url))

/**
 * Each `open(file)` returns something with better-sqlite3's interface; `node` runs the peers that are part of another release of Node.
 * What is `encrypted` authenticates its pages, unless it says that it does not: it is not compared with those that do.
 */
export const peers = {
  nimbus: { encrypted: false, open: (file) => nimbus(file, {}) },
  'nimbus, exclusive': { encrypted: false, exclusive: true, open: (file) => nimbus(file, { exclusive: true }) },
  'nimbus, encrypted, shared': { encrypted: true, open: (file) => nimbus(file, { key: key() }) },
  'nimbus, encrypted, exclusive': {
    encrypted: true,
    exclusive: true,
    open: (file) => nimbus(file, { key: key(), exclusive: true }),
  },
  'nimbus, encrypted, exclusive, sha256': {
    encrypted: true,
    exclusive: true,
    open: (file) => nimbus(file, { key: key(), exclusive: true, profile: 'sqlcipher-4-sha256' }),
  },
  'better-sqlite3': { encrypted: false, open: (file) => settled(new (require('better-sqlite3'))(file)) },
  'better-sqlite3, exclusive': {
    encrypted: false,
    exclusive: true,
    open: (file) => settled(alone(new (require('better-sqlite3'))(file))),
  },
  'node:sqlite, Node 24': { encrypted: false, node: node24, open: (file) => settled(nodeSqlite(file)) },
  'better-sqlite3-multiple-ciphers': { encrypted: true, open: (file) => settled(multipleCiphers(file)) },
  'better-sqlite3-multiple-ciphers, exclusive': {
    encrypted: true,
    exclusive: true,
    open: (file) => settled(alone(multipleCiphers(file))),
  },
  '@signalapp/sqlcipher': { encrypted: true, open: (file) => settled(signal(file)) },
  '@signalapp/sqlcipher, exclusive': {
    encrypted: true,
    exclusive: true,
    open: (file) => settled(alone(signal(file))),
  },
  libsql: {
    encrypted: true,
    isUnauthenticated: true,
    open: (file) => {
      const Database = require('libsql')
      return settled(new Database(file, { encryptionCipher: 'aes256cbc', encryptionKey: hex }))
    },
  },
}

function nimbus(file, options) {
  const Database = require('../../dist/cjs/better-sqlite3.cjs')
  return settled(new Database(file, options))
}

function multipleCiphers(file) {
  const database = new (require('better-sqlite3-multiple-ciphers'))(file)
  database.pragma("cipher = 'sqlcipher'")
  database.pragma('legacy = 4')
  database.pragma(`key = "x'${hex}'"`)
  return database
}

function signal(file) {
  const database = new (require('@signalapp/sqlcipher').default)(file)
  database.pragma(`key = "x'${hex}'"`)
  return database
}

/** Its statements take their values one by one. */
function nodeSqlite(file) {
  const { DatabaseSync } = require('node:sqlite')
  const database = new DatabaseSync(file)
  return {
    exec: (sql) => database.exec(sql),
    close: () => database.close(),
    prepare(sql) {
      const statement = database.prepare(sql)
      return {
        get: (values) => statement.get(...values),
        all: (values) => statement.all(...values),
        run: (values) => statement.run(...values),
        iterate: (values) => statement.iterate(...values),
      }
    },
  }
}

/** What `exclusive` of nimbus stands for: a file of this process alone, and 64 MiB of its pages. */
function alone(database) {
  database.pragma('locking_mode = EXCLUSIVE')
  database.pragma('cache_size = -65536')
  return database
}

/** Durability the same for all: a commit is in the log when it returns. */
function settled(database) {
  database.exec('PRAGMA journal_mode = WAL')
  database.exec('PRAGMA synchronous = NORMAL')
  return database
}
