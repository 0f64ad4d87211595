import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { DekBinding } from '../../src/keys/binding.js'
import { openKeyDirectory } from '../../src/keys/key-dir.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { openKeyProvider } from '../../src/keys/open.js'
import { describe as descriptorOf, keyFileName } from '../../src/keys/subject.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'
import { keyProviderContract } from './contract-suite.js'

const DEMO = { family: 'sqlite_tenant', tenant: 'demo' } as const
/** Given by the documentation of key directories. */
const DEMO_KEY = '64623a73716c6974653a74656e616e743a64656d6f3a64656d6f2e73716c69746533.key'

const binding: DekBinding = {
  subject: DEMO,
  profile: 'sqlcipher-4',
  generation: 1n,
  fileId: Buffer.alloc(16, 1),
  salt: Buffer.alloc(32, 2),
}

/** A directory of mode 0700 with a key for each of these tenants. */
function keyDirectory(...tenants: string[]): string {
  const directory = temporaryDirectory()
  for (const tenant of tenants) {
    const name = keyFileName(descriptorOf({ family: 'sqlite_tenant', tenant }))
    writeIn(directory, name, randomBytes(32), 0o400)
  }
  return directory
}

keyProviderContract('key-dir', async () => {
  const [one, two] = [keyDirectory('demo', 'other'), keyDirectory('demo', 'other')]
  return { open: () => openKeyDirectory(one, []), openOther: () => openKeyDirectory(two, []) }
})

describe('a key directory', () => {
  it('has the key of a subject in a file that is named by its descriptor in hex', async () => {
    const directory = keyDirectory('demo')
    expect(readdirSync(directory)).toEqual([DEMO_KEY])
    const provider = await openKeyProvider({ provider: 'key-dir', keyDir: directory }, [])
    expect(provider.describe()).toEqual({ provider: 'key_directory', path: directory })
    expect(provider.warnings).toEqual([])
    expect((await provider.newDek(binding)).hint).toBe(path.join(directory, DEMO_KEY))
  })

  it('gives each subject a key of its own: the key of one opens nothing of another', async () => {
    const directory = keyDirectory('demo', 'other')
    const provider = await openKeyDirectory(directory, [])
    const demo = await provider.newDek(binding)
    const other = await provider.newDek({ ...binding, subject: { ...DEMO, tenant: 'other' } })
    expect(demo.keyId).not.toBe(other.keyId)
  })

  it('derives other wrapping keys than a master key file of the same bytes', async () => {
    const directory = keyDirectory('demo')
    const [subjects, master] = [
      await openKeyDirectory(directory, []),
      await openMasterKeyFile(path.join(directory, DEMO_KEY), []),
    ]
    expect((await subjects.newDek(binding)).keyId).not.toBe((await master.newDek(binding)).keyId)
  })

  it('may get and lose keys while it is open', async () => {
    const directory = keyDirectory()
    const provider = await openKeyDirectory(directory, [])
    const file = path.join(directory, DEMO_KEY)
    const error = await rejectionOf(provider.newDek(binding))
    expect(error).toMatchObject({ code: 'key_missing', path: file, detail: { reason: 'missing' } })
    expect(error.message).toBe(`key file ${file} of db:sqlite:tenant:demo:demo.sqlite3 does not exist`)
    expect(error.remediation).toContain(`openssl rand -out ${file} 32`)
    writeFileSync(file, randomBytes(32), { mode: 0o400 })
    const { dek, ...wrapped } = await provider.newDek(binding)
    rmSync(file)
    const again = provider.unwrap(binding, wrapped, dek.commitment(binding.salt))
    expect(await rejectionOf(again)).toMatchObject({ code: 'key_missing', path: file })
  })

  it.each([
    ['of 31 bytes', Buffer.alloc(31, 0xff), 'has 31 bytes instead of 32'],
    ['in hex', randomBytes(32).toString('hex'), 'holds hex digits'],
    ['in base64', randomBytes(32).toString('base64'), 'holds base64 text'],
    ['of zeros', Buffer.alloc(32), 'holds zero bytes only'],
  ])('refuses a key %s, naming the file', async (_name, content, says) => {
    const directory = keyDirectory()
    const file = writeIn(directory, DEMO_KEY, content, 0o400)
    const error = await rejectionOf((await openKeyDirectory(directory, [])).newDek(binding))
    expect(error).toMatchObject({ code: 'key_malformed', path: file })
    expect(error.message).toContain(`key file ${file} of db:sqlite:tenant:demo:demo.sqlite3 ${says}`)
  })

  it('that does not exist, or is a file, is told at once', async () => {
    const directory = temporaryDirectory()
    const missing = path.join(directory, 'keys')
    const absent = await rejectionOf(openKeyDirectory(missing, []))
    expect(absent).toMatchObject({ code: 'key_missing', path: missing })
    expect(absent.message).toBe(`key directory ${missing} does not exist`)
    const file = writeIn(directory, 'master.key', randomBytes(32), 0o400)
    const wrong = await rejectionOf(openKeyDirectory(file, []))
    expect(wrong).toMatchObject({ code: 'key_malformed', path: file })
    expect(wrong.remediation).toContain('master-key-file')
  })

  it('is refused inside a data directory, and so is a link in it that leads there', async () => {
    const directory = keyDirectory()
    const dataDir = path.join(directory, 'data')
    mkdirSync(path.join(dataDir, 'keys'), { recursive: true })
    const inside = await rejectionOf(openKeyDirectory(path.join(dataDir, 'keys'), [dataDir]))
    expect(inside.code).toBe('config_invalid')
    const key = writeIn(dataDir, 'demo.key', randomBytes(32), 0o400)
    symlinkSync(key, path.join(directory, DEMO_KEY))
    const linked = await rejectionOf((await openKeyDirectory(directory, [dataDir])).newDek(binding))
    expect(linked.code).toBe('config_invalid')
    expect(linked.message).toContain(`lies inside ${dataDir}`)
  })

  it('warns of itself and of keys that others can read, some by name and all by number', async () => {
    const directory = keyDirectory('a', 'b', 'c', 'd', 'e')
    const names = readdirSync(directory).sort()
    for (const name of names) chmodSync(path.join(directory, name), 0o440)
    chmodSync(directory, 0o750)
    const { warnings } = await openKeyDirectory(directory, [])
    const first = path.join(directory, names[0] ?? '')
    expect(warnings[0]).toBe(
      `key directory ${directory} is readable by group or others (mode 0750): chmod 700 ${directory}`,
    )
    expect(warnings).toContain(`key file ${first} is readable by group or others (mode 0440): chmod 400 ${first}`)
    expect(warnings.at(-1)).toBe(`2 more key files in ${directory} are open to group or others`)
    expect(warnings.length).toBe(5)
  })
})
