/**
 * One migration, on a disk that kills the process somewhere in between.
 *
 *     migrator.ts <key file> <source> <kill at> <moment> <phase>
 *
 * A source named `.redb` is one. `kill at` counts changes of the disk, 0 for none; `phase` is where the copy itself is killed, at its first report.
 */
import { writeSync } from 'node:fs'
import { migrate } from '../../../src/encryption/migrate.js'
import { type Moment, mortalDisk } from './mortal-disk.js'
import { openKeys } from './keys.js'

const [keyFile = '', source = '', killAt = '', moment = '', phase = ''] = process.argv.slice(2)
const isRedb = source.endsWith('.redb')
const keys = await openKeys(keyFile)
writeSync(1, 'begun\n')
const { outcome, undone } = await migrate(
  {
    source,
    subject: { family: isRedb ? 'redb_tenant' : 'sqlite_tenant', tenant: 'demo' },
    profile: isRedb ? 'sealed-redb-1' : 'sqlcipher-4',
    keys,
    validate: true,
    retireSource: true,
    onProgress: (_path, progress) => {
      if (progress.phase === phase) process.kill(process.pid, 'SIGKILL')
    },
  },
  mortalDisk(Number(killAt), moment as Moment),
)
writeSync(1, `${outcome}${undone ? ' undone' : ''}\n`)
