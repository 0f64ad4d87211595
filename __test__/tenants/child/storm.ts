/** A process that creates tenants, writes to them and deletes them until it is killed, and says what was acknowledged. */
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'
import { createSqliteProvider } from '../../../src/tenants/sqlite/provider.js'

const [directory = '', keyFile = '', round = ''] = process.argv.slice(2)
const keys = keyFile === '' ? undefined : await openMasterKeyFile(keyFile, [directory])
const provider = createSqliteProvider({ directory, keys })
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

await Promise.all([comeAndGo(), ...Array.from({ length: 8 }, (_, writer) => writeForEver(writer))])
