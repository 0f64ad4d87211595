/**
 * One export, killed somewhere in between.
 *
 *     exporter.ts <key file> <source> <target> <where>     where: a phase of the copy, or before | after its publication
 */
import { writeSync } from 'node:fs'
import { exportPlaintext } from '../../../src/encryption/export.js'
import { publishFile, removeFileDurably, replaceFile } from '../../../src/native.js'
import { openKeys } from './keys.js'

const [keyFile = '', source = '', target = '', where = ''] = process.argv.slice(2)
const die = (): void => void process.kill(process.pid, 'SIGKILL')
const keys = await openKeys(keyFile)
writeSync(1, 'begun\n')
await exportPlaintext(
  {
    source,
    target,
    subject: { family: 'sqlite_tenant', tenant: 'demo' },
    keys,
    validate: true,
    onProgress: (_path, { phase }) => {
      if (phase === where) die()
    },
  },
  {
    removeFileDurably,
    replaceFile,
    publishFile: (temporary, path) => {
      if (where === 'before') die()
      publishFile(temporary, path)
      if (where === 'after') die()
    },
  },
)
