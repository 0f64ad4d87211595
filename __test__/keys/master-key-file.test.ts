import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { DekBinding } from '../../src/keys/binding.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import { openKeyProvider } from '../../src/keys/open.js'
import { runChild } from '../support/child.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { rejectionOf } from '../support/failure.js'
import { keyProviderContract } from './contract-suite.js'

const binding: DekBinding = {
  subject: { family: 'sqlite_tenant', tenant: 'demo' },
  profile: 'sqlcipher-4',
  generation: 1n,
  fileId: Buffer.alloc(16, 1),
  salt: Buffer.alloc(32, 2),
}

keyProviderContract('master-key-file', async () => {
  const directory = temporaryDirectory()
  const [one, two] = ['one.key', 'two.key'].map((name) => writeIn(directory, name, randomBytes(32), 0o400))
  return { open: () => openMasterKeyFile(one ?? '', []), openOther: () => openMasterKeyFile(two ?? '', []) }
})

describe('a master key file', () => {
  it('of 32 raw bytes opens without a warning, and its id is the same every time', async () => {
    const file = writeIn(temporaryDirectory(), 'master.key', randomBytes(32), 0o400)
    const [one, two] = [await openMasterKeyFile(file, []), await openMasterKeyFile(file, [])]
    expect(one.warnings).toEqual([])
    expect(one.describe()).toEqual({ provider: 'master_key_file', path: file })
    const [first, second] = [await one.newDek(binding), await two.newDek(binding)]
    expect(first.keyId).toMatch(/^[0-9a-f]{32}$/)
    expect(first.keyId).toBe(second.keyId)
    expect(first.hint).toBe(file)
  })

  const hex64 = randomBytes(32).toString('hex')
  const base64 = randomBytes(32).toString('base64')
  /** Never text by chance. */
  const raw = (count: number) => Buffer.concat([Buffer.of(0xff), randomBytes(count)]).subarray(0, count)

  it.each([
    ['with no bytes', Buffer.alloc(0), 'short', 'has 0 bytes instead of 32', 'Restore the whole key file'],
    ['with 31 bytes', raw(31), 'short', 'has 31 bytes instead of 32', 'Restore the whole key file'],
    ['with 33 bytes', raw(33), 'long', 'has 33 bytes instead of 32', '32 bytes, nothing else'],
    ['with 1 MiB', raw(1 << 20), 'long', 'has 1048576 bytes instead of 32', '32 bytes, nothing else'],
    ['in hex', hex64, 'looks_like_hex', 'holds hex digits', 'xxd -r -p'],
    ['in hex with a line end', `${hex64}\n`, 'looks_like_hex', 'holds hex digits', 'xxd -r -p'],
    ['in upper-case hex', hex64.toUpperCase(), 'looks_like_hex', 'holds hex digits', 'xxd -r -p'],
    ['in base64', `${base64}\n`, 'looks_like_base64', 'holds base64 text', 'base64 -d'],
    ['of 32 letters', 'abcdefghijklmnopqrstuvwxyzABCDEF', 'looks_like_base64', 'holds base64 text', 'base64 -d'],
    ['of zeros', Buffer.alloc(32), 'zero', 'holds zero bytes only', 'Restore the key'],
  ])('%s is malformed', async (_name, content, reason, says, remedy) => {
    const file = writeIn(temporaryDirectory(), 'master.key', content, 0o400)
    const error = await rejectionOf(openMasterKeyFile(file, []))
    expect(error).toMatchObject({ code: 'key_malformed', path: file, detail: { reason } })
    expect(error.message).toContain(`master key file ${file} ${says}`)
    expect(error.remediation).toContain(remedy)
  })

  it('that does not exist is missing', async () => {
    const file = path.join(temporaryDirectory(), 'master.key')
    const error = await rejectionOf(openMasterKeyFile(file, []))
    expect(error).toMatchObject({ code: 'key_missing', path: file, detail: { reason: 'missing' } })
    expect(error.message).toBe(`master key file ${file} does not exist`)
    expect(error.remediation).toContain(`openssl rand -out ${file} 32`)
  })

  it('whose link leads nowhere is missing', async () => {
    const directory = temporaryDirectory()
    symlinkSync(path.join(directory, 'nowhere'), path.join(directory, 'master.key'))
    expect(await rejectionOf(openMasterKeyFile(path.join(directory, 'master.key'), []))).toMatchObject({
      code: 'key_missing',
    })
  })

  it('that is a directory is told to be one', async () => {
    const directory = temporaryDirectory()
    const error = await rejectionOf(openMasterKeyFile(directory, []))
    expect(error).toMatchObject({ code: 'key_malformed', detail: { reason: 'directory' } })
    expect(error.message).toBe(`master key file ${directory} is a directory`)
    expect(error.remediation).toContain('key-dir')
  })

  it('that is a device or a pipe is refused, without waiting for a writer', async () => {
    const directory = temporaryDirectory()
    const { execFileSync } = await import('node:child_process')
    execFileSync('mkfifo', [path.join(directory, 'pipe')])
    for (const file of ['/dev/zero', path.join(directory, 'pipe')]) {
      const error = await rejectionOf(openMasterKeyFile(file, []))
      expect(error).toMatchObject({ code: 'key_malformed', detail: { reason: 'not_a_file' } })
    }
  })

  it('that this user may not read is missing, and the hint says how to let them', async () => {
    const directory = temporaryDirectory()
    chmodSync(directory, 0o755)
    const file = writeIn(directory, 'master.key', randomBytes(32))
    chmodSync(file, 0o000)
    const isRoot = process.getuid?.() === 0
    const nobody = 65_534
    if (isRoot) chownSync(file, nobody, nobody)
    const child = await runChild(new URL('./child/open-key.ts', import.meta.url), [file], isRoot ? { uid: nobody } : {})
    expect(child.stderr).toBe('')
    const seen = JSON.parse(child.stdout) as Record<string, string>
    expect(seen).toMatchObject({ code: 'key_missing', reason: 'unreadable' })
    expect(seen['message']).toBe(`master key file ${file} cannot be read`)
    expect(seen['remediation']).toContain('chmod 400')
  })

  it.each([
    [0o400, undefined],
    [0o600, undefined],
    [0o440, 'readable by group or others (mode 0440)'],
    [0o644, 'readable by group or others (mode 0644)'],
    [0o604, 'readable by group or others (mode 0604)'],
    [0o420, 'open to group or others (mode 0420)'],
  ])('of mode %o gets the warning %j', async (mode, warning) => {
    const file = writeIn(temporaryDirectory(), 'master.key', randomBytes(32))
    chmodSync(file, mode)
    const { warnings } = await openMasterKeyFile(file, [])
    if (warning === undefined) expect(warnings).toEqual([])
    else expect(warnings).toEqual([`master key file ${file} is ${warning}: chmod 400 ${file}`])
    expect(statSync(file).mode & 0o777).toBe(mode)
  })
})

describe('a configured key provider', () => {
  it('is opened by its settings, and keeps out of the directories that it protects', async () => {
    const directory = temporaryDirectory()
    const masterKeyFile = writeIn(directory, 'master.key', randomBytes(32), 0o400)
    const encryption = { provider: 'master-key-file', masterKeyFile } as const
    const provider = await openKeyProvider(encryption, [path.join(directory, 'data')])
    expect(provider.describe()).toEqual({ provider: 'master_key_file', path: masterKeyFile })
    expect(await rejectionOf(openKeyProvider(encryption, ['/elsewhere', directory]))).toMatchObject({
      code: 'config_invalid',
    })
  })
})

describe('a master key inside a data directory', () => {
  function places() {
    const root = temporaryDirectory()
    const dataDir = path.join(root, 'data')
    mkdirSync(path.join(dataDir, 'deep'), { recursive: true })
    mkdirSync(path.join(root, 'keys'))
    return { root, dataDir }
  }

  it.each(['master.key', 'deep/master.key', 'deep/../master.key'])('is refused: %s', async (name) => {
    const { dataDir } = places()
    const file = `${dataDir}/${name}`
    writeFileSync(file, randomBytes(32), { mode: 0o400 })
    const error = await rejectionOf(openMasterKeyFile(file, ['/elsewhere', dataDir]))
    expect(error).toMatchObject({ code: 'config_invalid', path: file })
    expect(error.message).toContain(`lies inside ${dataDir}, whose files it protects`)
    expect(error.remediation).toContain('Move the key')
  })

  it('is refused through a link to the key, a link to its directory, and a link to the data directory', async () => {
    const { root, dataDir } = places()
    writeFileSync(path.join(dataDir, 'master.key'), randomBytes(32), { mode: 0o400 })
    symlinkSync(path.join(dataDir, 'master.key'), path.join(root, 'keys/link.key'))
    symlinkSync(dataDir, path.join(root, 'alias'))
    const cases = [
      [path.join(root, 'keys/link.key'), dataDir],
      [path.join(root, 'alias/master.key'), dataDir],
      [path.join(dataDir, 'master.key'), path.join(root, 'alias')],
    ] as const
    for (const [file, directory] of cases) {
      const error = await rejectionOf(openMasterKeyFile(file, [directory]))
      expect(error.code).toBe('config_invalid')
    }
    expect((await rejectionOf(openMasterKeyFile(cases[0][0], [dataDir]))).message).toContain('it resolves to')
  })

  it('is refused if only a link to it lies inside: copies of the directory may follow it', async () => {
    const { root, dataDir } = places()
    writeFileSync(path.join(root, 'keys/master.key'), randomBytes(32), { mode: 0o400 })
    symlinkSync(path.join(root, 'keys/master.key'), path.join(dataDir, 'link.key'))
    const error = await rejectionOf(openMasterKeyFile(path.join(dataDir, 'link.key'), [dataDir]))
    expect(error.code).toBe('config_invalid')
  })

  it('is refused before the directory is made', async () => {
    const { root } = places()
    const error = await rejectionOf(openMasterKeyFile(`${root}/new/data/master.key`, [`${root}/new/data`]))
    expect(error.code).toBe('config_invalid')
  })

  it('is not confused with one beside it whose name begins the same', async () => {
    const { root, dataDir } = places()
    for (const name of ['data.key', '..data.key']) {
      const file = writeIn(root, name, randomBytes(32), 0o400)
      await expect(openMasterKeyFile(file, [dataDir])).resolves.toBeDefined()
    }
  })
})
