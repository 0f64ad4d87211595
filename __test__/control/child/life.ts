/**
 * A server's control plane and one tenant, from nothing to nothing, in a process that is killed somewhere in between.
 *
 *     life.ts <key file> <data dir> <kill at> <moment> <from>     moment: before | inside | after; from: nothing | settle
 */
import { writeFileSync, writeSync } from 'node:fs'
import { type ControlFileOptions, controlPlanePath } from '../../../src/control/file.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import { nativeDisk } from '../../../src/manifest/file.js'
import { KvStore } from '../../../src/native.js'
import { startTenants } from '../../../src/server/start-tenants.js'
import { createSqliteProvider } from '../../../src/tenants/sqlite/provider.js'

const [keyFile = '', dataDir = '', killAt = '', moment = '', from = ''] = process.argv.slice(2)
const keys = await openMasterKeyFile(keyFile, [])
let steps = 0

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable: the signal is delivered before kill(2) returns to this thread')
}

function step<T>(work: () => T, half: () => void = () => undefined): T {
  steps += 1
  if (steps !== Number(killAt)) return work()
  if (moment === 'inside') half()
  if (moment !== 'after') die()
  const done = work()
  if (!(done instanceof Promise)) die()
  // What the caller awaits never comes.
  done.then(die, die)
  return done
}

/** Written at once: a line that was seen was true when the process died. */
const say = (line: string) => writeSync(1, `${line}\n`)

const controlPlane: ControlFileOptions = {
  directory: dataDir,
  keys,
  disk: {
    ...nativeDisk,
    createFileExclusive: (path, bytes) => step(() => nativeDisk.createFileExclusive(path, bytes)),
    replaceFile: (path, bytes) =>
      step(
        () => nativeDisk.replaceFile(path, bytes),
        () => writeFileSync(`${path}.tmp`, bytes.subarray(0, bytes.length / 2)),
      ),
  },
  openFile: (options) => {
    const unfinished = () => writeFileSync(`${controlPlanePath(dataDir)}.creating`, 'half')
    const store = options.mode === 'create' ? step(() => KvStore.open(options), unfinished) : KvStore.open(options)
    return {
      get: (table, key) => store.get(table, key),
      snapshot: () => store.snapshot(),
      write: (operations) => step(() => store.write(operations)),
      verify: (options) => store.verify(options),
      close: () => store.close(),
      stats: store.stats,
    }
  },
}

const sqlite = createSqliteProvider({ directory: dataDir, keys })
const served: typeof sqlite = {
  name: sqlite.name,
  start: () => sqlite.start(),
  ids: () => sqlite.ids(),
  create: (id) => step(() => sqlite.create(id)),
  delete: (id) => step(() => sqlite.delete(id)),
  list: (page) => sqlite.list(page),
  open: (id) => sqlite.open(id),
  verify: (id, options) => sqlite.verify(id, options),
  files: () => sqlite.files(),
  stats: () => sqlite.stats(),
  close: () => sqlite.close(),
}
const warn = (what: string) => say(`warning: ${what}`)
const { tenants, close } = await startTenants({ tenantsOf: () => served, controlPlane, dataDir, warn })
if (from === 'nothing') {
  await tenants.create('demo')
  say('created')
  say('deleting')
  await tenants.delete('demo')
  say('deleted')
}
await close()
say('end')
