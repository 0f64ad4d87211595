/**
 * Creates each file that is named on stdin, and answers with the commitment of its DEK, or with the code of the error.
 *
 *     racer.ts <key file>
 */
import { createInterface } from 'node:readline'
import { createProtected } from '../../../src/encryption/protect.js'
import { NimbusError } from '../../../src/errors.js'
import { openMasterKeyFile } from '../../../src/keys/master-key-file.js'

const provider = await openMasterKeyFile(process.argv[2] ?? '', [])
const subject = { family: 'sqlite_tenant', tenant: 'demo' } as const

process.stdout.write('ready\n')
for await (const file of createInterface({ input: process.stdin })) {
  process.stdout.write(`${await race(file)}\n`)
}

async function race(file: string): Promise<string> {
  try {
    const { manifest } = await createProtected(file, subject, provider, 'sqlcipher-4')
    return Buffer.from(manifest.current.commitment).toString('hex')
  } catch (error) {
    if (error instanceof NimbusError) return error.code
    throw error
  }
}
