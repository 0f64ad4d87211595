/** The libraries that are measured, each opened with its own means of the same settings; encrypted with the same raw key. */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const hex = '5a'.repeat(32)
const key = () => Buffer.from(hex, 'hex')

/** Each `open(file)` returns something with better-sqlite3's interface. */
export const peers = {
  nimbus: { encrypted: false, open: (file) => nimbus(file, {}) },
  'nimbus, exclusive': { encrypted: false, open: (file) => nimbus(file, { exclusive: true }) },
  'nimbus, encrypted, shared': { encrypted: true, open: (file) => nimbus(file, { key: key() }) },
  'nimbus, encrypted, exclusive': { encrypted: true, open: (file) => nimbus(file, { key: key(), exclusive: true }) },
  'nimbus, encrypted, exclusive, sha256': {
    encrypted: true,
    open: (file) => nimbus(file, { key: key(), exclusive: true, profile: 'sqlcipher-4-sha256' }),
  },
  'better-sqlite3': { encrypted: false, open: (file) => settled(new (require('better-sqlite3'))(file)) },
  'better-sqlite3-multiple-ciphers': {
    encrypted: true,
    open: (file) => {
      const database = new (require('better-sqlite3-multiple-ciphers'))(file)
      database.pragma("cipher = 'sqlcipher'")
      database.pragma('legacy = 4')
      database.pragma(`key = "x'${hex}'"`)
      return settled(database)
    },
  },
  '@signalapp/sqlcipher': {
    encrypted: true,
    open: (file) => {
      const Database = require('@signalapp/sqlcipher').default
      const database = new Database(file)
      database.pragma(`key = "x'${hex}'"`)
      return settled(database)
    },
  },
  libsql: {
    encrypted: true,
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

/** Durability and cache the same for all: a commit is in the log when it returns. */
function settled(database) {
  database.exec('PRAGMA journal_mode = WAL')
  database.exec('PRAGMA synchronous = NORMAL')
  return database
}
