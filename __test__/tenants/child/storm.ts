/** A process that creates tenants, writes to them and deletes them until it is killed, and says what was acknowledged. */
import { setTimeout as delay } from 'node:timers/promises'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import { createRedbProvider } from '../../../src/tenants/redb/provider.js'
import { createSqliteProvider } from '../../../src/tenants/sqlite/provider.js'

const [kind = '', directory = '', keyFile = '', round = ''] = process.argv.slice(2)
const keys = keyFile === '' ? undefined : await openMasterKeyFile(keyFile, [directory])
const provider = (kind === 'redb' ? createRedbProvider : createSqliteProvider)({ directory, keys })
await provider.start()

/** One line, written in one piece: a kill leaves it whole or not at all. */
function say(...words: string[]): void {
  process.stdout.write(`${words.join(' ')}\n`)
}

async function writeForEver(writer: number): Promise<void> {
  const store = await provider.open('storm')
  for (let n = 0; ; n++) {
    const { id } = await store.insert('posts', { round, writer, n, padding: 'x'.repeat((n * 97) % 3000) })
    say('inserted', id)
    if (n % 5 === 4) {
      const { version } = await store.patch('posts', id, { patched: n })
      say('patched', id, String(version))
    }
    if (n % 7 === 6) {
      say('deleting', id)
      await store.delete('posts', id)
      say('deleted', id)
    }
  }
}

/** Indexes come and go beside the writing, one of them unique. */
async function changeSchemas(): Promise<void> {
  const store = await provider.open('storm')
  const kept = { name: 'by_writer', fields: ['writer', 'n'] }
  const unique = { name: 'one', fields: ['round', 'writer', 'n'], unique: true }
  for (;;) {
    await store.putSchema('posts', { indexes: [kept, unique] })
    await delay(10)
    await store.putSchema('posts', { indexes: [kept, { name: 'by_patch', fields: ['patched'] }] })
    await delay(10)
  }
}

async function comeAndGo(): Promise<void> {
  for (let n = 0; ; n++) {
    const id = `t${round}-${n}`
    say('creating', id)
    await provider.create(id)
    say('created', id)
    await (await provider.open(id)).insert('posts', { id })
    say('filled', id)
    if (n % 2 === 0) continue
    say('removing', id)
    await provider.delete(id)
    say('removed', id)
  }
}

await Promise.all([comeAndGo(), changeSchemas(), ...Array.from({ length: 8 }, (_, writer) => writeForEver(writer))])
