/**
 * An encrypted key-value store in one file that survives power loss.
 *
 *     node store.mjs [directory]
 */
import { mkdtempSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json, Store, utf8 } from '@nimbus/storage'

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'nimbus-example-'))

const store = await Store.open({ path: join(directory, 'app.redb'), key: randomBytes(32) })
/** @type {import('@nimbus/storage').Encoding<{ balance: number }>} */
const account = json()
const accounts = store.table('accounts', { keys: utf8, values: account })

await Promise.all(['ada', 'grace'].map((name) => accounts.put(name, { balance: 100 }))) // one commit, on the disk

/** @type {(from: string, to: string, amount: number) => Promise<void>} */
const transfer = (from, to, amount) =>
  store.transaction((transaction) => {
    const [payer, payee] = [transaction.get(accounts, from), transaction.get(accounts, to)]
    if (payer === undefined || payee === undefined) throw new RangeError('no such account')
    if (payer.balance < amount) throw new RangeError(`${from} has ${payer.balance}`)
    transaction.put(accounts, from, { balance: payer.balance - amount })
    transaction.put(accounts, to, { balance: payee.balance + amount })
  })

await transfer('ada', 'grace', 30)
await transfer('ada', 'grace', 1000).catch((error) => console.log('refused:', error.message))

const before = store.snapshot()
try {
  accounts.putSync('barbara', { balance: 5 })
  console.log('before', [...before.range(accounts)].length, 'now', [...accounts.range()].length)
} finally {
  before.close() // it holds on to the pages of its state
}
for (const [name, { balance }] of accounts.range({ gte: 'b' })) console.log(name, balance)
await store.close()
