/** Databases whose key a provider wraps: the manifest beside the file, its locks, and what a crash leaves. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { keyBoxService } from '../../examples/own-key-provider/key-box-service.mjs'
import { rotateDek } from '../../src/encryption/rotate-dek.js'
import { Database, dataKeyProvider, type KeyProvider, openKeyProvider } from '../../src/index.js'
import { keyFileName } from '../../src/keys/subject.js'
import { runChild } from '../support/child.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { failureOf, rejectionOf } from '../support/failure.js'

const SUBJECT = { family: 'sqlite_tenant', tenant: 'app' } as const
const MARK = 'a secret that must not be on the disk'

interface Place {
  readonly directory: string
  readonly file: string
  readonly keyFile: string
}

function place(name = 'app'): Place {
  const directory = temporaryDirectory()
  const data = path.join(directory, 'data')
  mkdirSync(data)
  mkdirSync(path.join(directory, 'copies'))
  return {
    directory,
    file: path.join(data, `${name}.sqlite3`),
    keyFile: writeIn(directory, 'master.key', randomBytes(32), 0o400),
  }
}

const settings = ({ keyFile }: Place) => ({ provider: 'master-key-file', masterKeyFile: keyFile }) as const
const providerOf = async (where: Place): Promise<KeyProvider> => {
  const provider = await openKeyProvider(settings(where), [])
  onTestFinished(() => provider.close())
  return provider
}
const namesOf = ({ file }: Place): string[] => readdirSync(path.dirname(file)).sort()
const WHOLE = ['.nimbus.lock', 'app.sqlite3', 'app.sqlite3.nimbus-enc', 'app.sqlite3.nimbus-lock']

function fill(database: Database): void {
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  for (let row = 0; row < 20; row += 1) database.prepare('INSERT INTO t (text) VALUES (?)').run(MARK.repeat(100))
}
const count = (database: Database): unknown => database.prepare('SELECT count(*) FROM t').pluck().get()

/** Each built-in provider and one of the program's own, which lies in another process and is asked over a socket. */
const providers: Record<string, (where: Place) => Promise<KeyProvider>> = {
  'a master key file': providerOf,
  'a key directory': async ({ directory }) => {
    const keys = path.join(directory, 'keys')
    mkdirSync(keys, { mode: 0o700 })
    writeIn(keys, keyFileName('db:sqlite:tenant:app:app.sqlite3'), randomBytes(32), 0o400)
    return openKeyProvider({ provider: 'key-dir', keyDir: keys }, [])
  },
  "a provider of the program's own": async ({ directory }) => {
    const socket = path.join(directory, 'box.sock')
    const script = path.resolve('examples/own-key-provider/key-box.mjs')
    const box = spawn(process.execPath, [script, path.join(directory, 'kek'), socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void box.kill('SIGKILL'))
    await once(box.stdout, 'data')
    return dataKeyProvider(keyBoxService(socket))
  },
}

describe.each(Object.entries(providers))('with %s', (_, open) => {
  test('Database.open makes a file with a manifest, and opens it again', async () => {
    const where = place()
    const keyProvider = await open(where)
    const database = await Database.open(where.file, { keyProvider })
    fill(database)
    database.close()
    expect(readFileSync(where.file).includes(MARK.slice(0, 16))).toBe(false)
    expect(namesOf(where)).toEqual(WHOLE)
    const again = await Database.open(where.file, { keyProvider, fileMustExist: true })
    expect(count(again)).toBe(20)
    again.close()
    keyProvider.close()
  })

  test('the constructor does the same, or names Database.open if the answer would have to be waited for', async () => {
    const where = place()
    const keyProvider = await open(where)
    if (keyProvider.isRemote === true) {
      expect(() => new Database(where.file, { keyProvider })).toThrow(/await Database\.open/)
      expect(readdirSync(path.dirname(where.file))).toEqual([])
      return
    }
    const database = new Database(where.file, { keyProvider })
    fill(database)
    database.close()
    expect(namesOf(where)).toEqual(WHOLE)
    const again = new Database(where.file, { keyProvider })
    expect(count(again)).toBe(20)
    again.close()
  })
})

test('the settings of a provider do as well as the provider, and the key may not lie beside the file', () => {
  const where = place()
  const database = new Database(where.file, { keyProvider: settings(where) })
  fill(database)
  database.close()
  const inside = writeIn(path.dirname(where.file), 'master.key', randomBytes(32), 0o400)
  const refused = { keyProvider: { provider: 'master-key-file', masterKeyFile: inside } } as const
  expect(failureOf(() => new Database(where.file, refused)).code).toBe('config_invalid')
  const again = new Database(where.file, { keyProvider: settings(where) })
  expect(count(again)).toBe(20)
  again.close()
})

test('AWS KMS by its settings is for Database.open', () => {
  const { file } = place()
  const keyProvider = { provider: 'aws-kms', keyId: 'alias/x', region: 'eu-central-1', endpointUrl: undefined } as const
  expect(() => new Database(file, { keyProvider })).toThrow(/await Database\.open/)
})

test.each([
  [{ keyProvider: {} }, /settings of one/],
  [{ keyProvider: { provider: 'none' } }, /settings of one/],
  [{ keyProvider: null }, /settings of one/],
  [{ key: Buffer.alloc(32, 1), keyProvider: { provider: 'key-dir', keyDir: '/' } }, /not both/],
  [{ name: 'x' }, /needs the "keyProvider" option/],
  [{ name: 1, keyProvider: { provider: 'key-dir', keyDir: '/' } }, /"name" option to be a string/],
])('%o is refused as a mistake of the caller', (options, message) => {
  const { file } = place()
  expect(() => new Database(file, options as never)).toThrow(TypeError)
  expect(() => new Database(file, options as never)).toThrow(message)
  expect(existsSync(file)).toBe(false)
})

test('a file whose name cannot be a subject takes one by the option "name"', () => {
  const where = place()
  const file = path.join(path.dirname(where.file), 'My App.db')
  const keyProvider = settings(where)
  expect(failureOf(() => new Database(file, { keyProvider })).code).toBe('invalid_tenant_id')
  new Database(file, { keyProvider, name: 'app' }).close()
  expect(failureOf(() => new Database(file, { keyProvider, name: 'other' })).code).toBe('manifest_mismatch')
  new Database(file, { keyProvider, name: 'app' }).close()
})

test('another key, a missing manifest, a missing, an empty and another file are refused by code', () => {
  const where = place()
  const options = { keyProvider: settings(where) }
  const database = new Database(where.file, options)
  fill(database)
  database.close()
  const otherKey = writeIn(where.directory, 'other.key', randomBytes(32), 0o400)
  const other = { keyProvider: { provider: 'master-key-file', masterKeyFile: otherKey } } as const
  expect(failureOf(() => new Database(where.file, other)).code).toBe('key_wrong')
  const manifest = readFileSync(`${where.file}.nimbus-enc`)
  const data = readFileSync(where.file)
  rmSync(`${where.file}.nimbus-enc`)
  expect(failureOf(() => new Database(where.file, options)).code).toBe('manifest_missing')
  writeFileSync(`${where.file}.nimbus-enc`, manifest)
  rmSync(where.file)
  expect(failureOf(() => new Database(where.file, options)).code).toBe('data_missing')
  for (const bytes of [Buffer.alloc(0), data.subarray(0, 100), randomBytes(8192)]) {
    writeFileSync(where.file, bytes)
    expect(failureOf(() => new Database(where.file, options)).code).toBe('file_corrupt')
    expect(readFileSync(where.file).equals(bytes)).toBe(true)
  }
  data[2000] = (data[2000] ?? 0) ^ 1
  writeFileSync(where.file, data)
  expect(failureOf(() => new Database(where.file, options)).code).toBe('file_corrupt')
  expect(
    failureOf(() => new Database(path.join(where.directory, 'data/none.db'), { ...options, fileMustExist: true })).code,
  ).toBe('data_missing')
})

test('the file belongs to one opener, unless all of them share it', () => {
  const where = place()
  const options = { keyProvider: settings(where) }
  const owner = new Database(where.file, options)
  fill(owner)
  const busy = failureOf(() => new Database(where.file, options))
  expect(busy).toMatchObject({ code: 'file_busy', detail: { owner_pid: process.pid } })
  expect(failureOf(() => new Database(where.file, { ...options, readonly: true })).code).toBe('file_busy')
  owner.close()
  const shared = [1, 2].map(() => new Database(where.file, { ...options, exclusive: false }))
  shared[0]?.prepare("INSERT INTO t (text) VALUES ('one more')").run()
  expect(shared.map(count)).toEqual([21, 21])
  const reader = new Database(where.file, { ...options, readonly: true })
  expect(count(reader)).toBe(21)
  expect(() => reader.exec('DELETE FROM t')).toThrow(expect.objectContaining({ code: 'SQLITE_READONLY' }))
  expect(failureOf(() => new Database(where.file, options)).code).toBe('file_busy')
  for (const database of [...shared, reader]) database.close()
  new Database(where.file, options).close()
})

test('a file that is only read can be kept from everybody else', () => {
  const where = place()
  const options = { keyProvider: settings(where) }
  const owner = new Database(where.file, options)
  fill(owner)
  owner.close()
  const reader = new Database(where.file, { ...options, readonly: true, exclusive: true })
  expect(count(reader)).toBe(20)
  for (const others of [{}, { readonly: true }, { exclusive: false }]) {
    expect(failureOf(() => new Database(where.file, { ...options, ...others })).code).toBe('file_busy')
  }
  reader.close()
  new Database(where.file, options).close()
})

test('a process that shares the file writes to it while another one reads', () => {
  const where = place()
  const database = new Database(where.file, { keyProvider: settings(where), exclusive: false })
  fill(database)
  const script = `
    const Database = require(${JSON.stringify(path.resolve('dist/cjs/better-sqlite3.cjs'))})
    const keyProvider = ${JSON.stringify(settings(where))}
    const database = new Database(${JSON.stringify(where.file)}, { keyProvider, exclusive: false })
    database.prepare("INSERT INTO t (text) VALUES ('from another process')").run()
    process.kill(process.pid, 'SIGKILL')`
  expect(() => execFileSync(process.execPath, ['-e', script])).toThrow(expect.objectContaining({ signal: 'SIGKILL' }))
  expect(count(database)).toBe(21)
  database.close()
})

describe('a process killed while it makes a file', () => {
  const moments = [1, 2].flatMap((killAt) =>
    (['before', 'inside', 'after'] as const).map((moment) => ({ killAt, moment })),
  )

  test.each(moments)('$moment its change $killAt leaves what the next opening settles', async ({ killAt, moment }) => {
    const where = place()
    const script = new URL('./child/create.ts', import.meta.url)
    const child = await runChild(script, [where.keyFile, where.file, String(killAt), moment])
    expect(child).toMatchObject({ stderr: '', stdout: '', signal: 'SIGKILL' })
    const isMade = killAt === 2 && moment === 'after'
    const options = { keyProvider: settings(where) }
    if (isMade) new Database(where.file, { ...options, fileMustExist: true }).close()
    else
      expect(failureOf(() => new Database(where.file, { ...options, fileMustExist: true })).code).toBe('data_missing')
    const database = new Database(where.file, options)
    fill(database)
    database.close()
    expect(namesOf(where)).toEqual(WHOLE)
  })

  test('is killed at one of these changes: there is no third', async () => {
    const where = place()
    const script = new URL('./child/create.ts', import.meta.url)
    const child = await runChild(script, [where.keyFile, where.file, '3', 'before'])
    expect(child).toMatchObject({ status: 0, stderr: '', stdout: 'created\n' })
  })

  test('leaves the file itself in any part, and with a journal or log, which go with it', async () => {
    const script = new URL('./child/create.ts', import.meta.url)
    for (const bytes of [0, 100, 4096, 8192]) {
      const where = place()
      await runChild(script, [where.keyFile, where.file, '2', 'before'])
      if (bytes <= 4096) truncateSync(where.file, bytes)
      else writeFileSync(where.file, randomBytes(bytes))
      for (const suffix of ['-journal', '-wal']) writeFileSync(where.file + suffix, randomBytes(5000))
      const database = new Database(where.file, { keyProvider: settings(where) })
      expect(database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get()).toBe(0)
      database.close()
      expect(namesOf(where)).toEqual(WHOLE)
    }
  })

  test('is acknowledged: what it wrote before SIGKILL is there', () => {
    const where = place()
    const script = `
      const Database = require(${JSON.stringify(path.resolve('dist/cjs/better-sqlite3.cjs'))})
      const database = new Database(${JSON.stringify(where.file)}, { keyProvider: ${JSON.stringify(settings(where))} })
      database.exec('CREATE TABLE t (id)')
      database.prepare('INSERT INTO t VALUES (1)').run()
      process.kill(process.pid, 'SIGKILL')`
    expect(() => execFileSync(process.execPath, ['-e', script])).toThrow(expect.objectContaining({ signal: 'SIGKILL' }))
    expect(existsSync(`${where.file}-wal`)).toBe(true)
    const database = new Database(where.file, { keyProvider: settings(where) })
    expect(count(database)).toBe(1)
    database.close()
  })
})

describe('a change of the key', () => {
  test('is the command of nimbus, which rekey names', async () => {
    const where = place()
    const database = new Database(where.file, { keyProvider: settings(where) })
    fill(database)
    expect(() => database.rekey(randomBytes(32))).toThrow(
      `nimbus encryption rotate-dek --path ${where.file} --provider sqlite --tenant-id app`,
    )
    expect(count(database)).toBe(20)
    database.close()
    await rotateDek(where.file, SUBJECT, { provider: await providerOf(where), skipBackup: true })
    const again = new Database(where.file, { keyProvider: settings(where) })
    expect(count(again)).toBe(20)
    again.close()
  })

  test('that was interrupted is settled by Database.open, and the constructor says so', async () => {
    const where = place('demo')
    const database = new Database(where.file, { keyProvider: settings(where) })
    fill(database)
    database.close()
    const script = new URL('../encryption/child/dek-rotator.ts', import.meta.url)
    const child = await runChild(script, [where.keyFile, where.file, '3', 'inside', 'rotate'])
    expect(child.signal, child.stderr).toBe('SIGKILL')
    const pending = failureOf(() => new Database(where.file, { keyProvider: settings(where) }))
    expect(pending.code).toBe('file_busy')
    expect(pending.remediation).toContain('await Database.open')
    const settled = await Database.open(where.file, { keyProvider: settings(where) })
    expect(count(settled)).toBe(20)
    settled.close()
    const again = new Database(where.file, { keyProvider: settings(where) })
    expect(count(again)).toBe(20)
    again.close()
  })
})

describe('copies', () => {
  test('a backup has a manifest of its own, and its name must be free', async () => {
    const where = place()
    const database = new Database(where.file, { keyProvider: settings(where) })
    fill(database)
    const copy = path.join(where.directory, 'copies', 'copy.sqlite3')
    await database.backup(copy)
    expect((await rejectionOf(database.backup(copy))).code).toBe('target_exists')
    database.close()
    expect(readFileSync(copy).includes(MARK.slice(0, 16))).toBe(false)
    const again = new Database(copy, { keyProvider: settings(where), name: 'app' })
    expect(count(again)).toBe(20)
    again.close()
  })

  test('a backup that fails leaves nothing but its lock, and one that was killed is taken away', async () => {
    const where = place()
    const database = new Database(where.file, { keyProvider: settings(where) })
    fill(database)
    const copy = path.join(where.directory, 'copies', 'copy.sqlite3')
    const stopped = database.backup(copy, {
      progress: () => {
        throw new Error('enough')
      },
    })
    await expect(stopped).rejects.toThrow('enough')
    expect(readdirSync(path.dirname(copy)).filter((name) => name.startsWith('copy'))).toEqual([
      'copy.sqlite3.nimbus-lock',
    ])
    database.close()
    const script = `
      const Database = require(${JSON.stringify(path.resolve('dist/cjs/better-sqlite3.cjs'))})
      const database = new Database(${JSON.stringify(where.file)}, { keyProvider: ${JSON.stringify(settings(where))} })
      database.backup(${JSON.stringify(copy)}, { progress: () => process.kill(process.pid, 'SIGKILL') })`
    expect(() => execFileSync(process.execPath, ['-e', script])).toThrow(expect.objectContaining({ signal: 'SIGKILL' }))
    expect(existsSync(`${copy}.nimbus-enc`)).toBe(true)
    const options = { keyProvider: settings(where), name: 'app', fileMustExist: true }
    expect(failureOf(() => new Database(copy, options)).code).toBe('data_missing')
    expect(readdirSync(path.dirname(copy)).filter((name) => name.startsWith('copy'))).toEqual([
      'copy.sqlite3.nimbus-lock',
    ])
  })

  test('the bytes of serialize are the file, and files without a manifest are not made', () => {
    const where = place()
    const database = new Database(where.file, { keyProvider: settings(where) })
    fill(database)
    const bytes = database.serialize()
    expect(bytes.includes(MARK.slice(0, 16))).toBe(false)
    for (const sql of [`ATTACH '${where.file}.2' AS b`, `VACUUM INTO '${where.file}.3'`]) {
      expect(() => database.exec(sql)).toThrow(/not authorized|authorization denied/)
    }
    database.close()
    const copy = path.join(where.directory, 'copies', 'app.sqlite3')
    writeFileSync(copy, bytes)
    writeFileSync(`${copy}.nimbus-enc`, readFileSync(`${where.file}.nimbus-enc`))
    const again = new Database(copy, { keyProvider: settings(where) })
    expect(count(again)).toBe(20)
    again.close()
  })
})
