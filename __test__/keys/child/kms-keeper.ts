/**
 * Does everything that is done with a KMS, writes a heap snapshot, and then waits to be looked at, with one DEK open.
 *
 *     kms-keeper.ts <url> <region> <snapshot>
 */
import { writeHeapSnapshot } from 'node:v8'
import type { DekBinding } from '../../../src/keys/binding.js'
import { openKeyProvider } from '../../../src/keys/open.js'

const [endpointUrl = '', region = '', snapshot = ''] = process.argv.slice(2)
const open = (keyId: string) => openKeyProvider({ provider: 'aws-kms', keyId, region, endpointUrl }, [])
const binding: DekBinding = {
  subject: { family: 'sqlite_tenant', tenant: 'demo' },
  profile: 'sqlcipher-4',
  generation: 1n,
  fileId: Buffer.alloc(16, 1),
  salt: Buffer.alloc(32, 2),
}
const [one, two] = [await open('alias/one'), await open('alias/two')]
await one.health?.()
const made = await one.newDek(binding)
const moved = await two.rewrap?.({ provider: one, binding, wrapped: made }, binding)
const wrappings = [
  { provider: one, wrapped: made },
  { provider: two, wrapped: await two.wrap(binding, made.dek) },
  ...(moved?.outcome === 'rewrapped' ? [{ provider: two, wrapped: moved.wrapped }] : []),
]
const outcomes: string[] = []
for (const { provider, wrapped } of wrappings) {
  const result = await provider.unwrap(binding, wrapped, made.dek.commitment(binding.salt))
  outcomes.push(result.outcome)
  if (result.outcome === 'opened') result.dek.close()
}
writeHeapSnapshot(snapshot)
process.stdout.write(`${JSON.stringify({ outcomes, wrapped: Buffer.from(made.wrapped).toString('hex') })}\n`)
process.stdin.on('data', () => process.exit(made.wrapped.length > 0 ? 0 : 1))
