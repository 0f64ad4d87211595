import { existsSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ControlPlane } from '../../src/control/control-plane.js'
import { MOST_EVENTS } from '../../src/control/events.js'
import { createProtected, openProtected } from '../../src/encryption/protect.js'
import { KvStore } from '../../src/native.js'
import { CONTROL_PLANE, type Place, place } from '../encryption/setup.js'
import { rejectionOf } from '../support/failure.js'

const modes = ['encrypted', 'plain'] as const
type Mode = (typeof modes)[number]

async function open(where: Place, mode: Mode): Promise<ControlPlane> {
  const keys = mode === 'encrypted' ? where.provider : undefined
  const control = await ControlPlane.open({ directory: where.dataDir, keys })
  onTestFinished(() => control.close())
  return control
}

/** The file by itself, for what only a mistake or another version writes. */
async function rawStore(where: Place, mode: Mode): Promise<KvStore> {
  if (mode === 'plain') return KvStore.open({ path: where.file, mode: 'open' })
  const { dek, fileId, manifest } = await openProtected(where.file, CONTROL_PLANE.subject, where.provider)
  return KvStore.open({
    path: where.file,
    mode: 'open',
    encryption: { dek, fileId, generation: manifest.current.generation },
  })
}

describe.each(modes)('a control plane, %s,', (mode) => {
  it('is made by the first start, readable by its owner alone, and found by the next', async () => {
    const where = await place(CONTROL_PLANE)
    const made = await open(where, mode)
    expect(made.path).toBe(where.file)
    expect(statSync(where.file).mode & 0o777).toBe(0o600)
    expect(existsSync(`${where.file}.nimbus-enc`)).toBe(mode === 'encrypted')
    const text = Buffer.from(mode === 'encrypted' ? 'NMBSRDB2' : 'redb')
    expect(readFileSync(where.file).subarray(0, text.length)).toEqual(text)
    await made.close()
    const found = await open(where, mode)
    expect(found.events.newest(10).map(({ event }) => event)).toEqual(['control_plane_created'])
  })

  it('has one opener at a time', async () => {
    const where = await place(CONTROL_PLANE)
    await open(where, mode)
    const error = await rejectionOf(open(where, mode))
    expect(error).toMatchObject({ code: 'file_busy', detail: { owner_pid: process.pid } })
  })

  it('keeps tenants, tokens, files and events', async () => {
    const where = await place(CONTROL_PLANE)
    const before = await open(where, mode)
    const tenants = before.tenantsOf('sqlite', (tenant) => `db:sqlite:tenant:${tenant}:${tenant}.sqlite3`)
    await tenants.beginCreation('demo')
    await tenants.finishCreation('demo', Date.UTC(2026, 0, 31), true)
    const { record } = await before.tokens.create({ name: 'reporting', tenants: ['demo'], access: 'read' })
    await before.close()

    const after = await open(where, mode)
    expect(after.tenantsOf('sqlite', String).all()).toEqual([['demo', 'active']])
    expect(after.tenantsOf('redb', String).all()).toEqual([])
    expect(after.tokens.all()).toEqual([record])
    expect(after.events.newest(2).map(({ event, subject }) => [event, subject])).toEqual([
      ['token_created', `token:${record.id}`],
      ['tenant_created', 'db:sqlite:tenant:demo:demo.sqlite3'],
    ])
  })

  it('of a later layout is refused and left as it is', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, mode)).close()
    const raw = await rawStore(where, mode)
    await raw.write([{ table: 'nimbus', key: Buffer.from('layout'), value: Buffer.from('{"version":2}') }])
    await raw.close()
    const error = await rejectionOf(open(where, mode))
    expect(error).toMatchObject({ code: 'unsupported_for_provider', path: where.file })
    expect(error.message).toContain('layout 2, which a newer nimbus wrote')
  })

  it.each([
    ['a layout that is none', 'nimbus', Buffer.from('layout'), '{"version":"1"}'],
    ['a tenant in an unknown state', 'tenants', Buffer.from('sqlite/demo'), '{"state":"asleep","created_at":null}'],
    ['a token with a member too many', 'tokens', Buffer.from('00'), '{"id":"1","token":"nbt_secret"}'],
    ['a file of no generation', 'files', Buffer.from('x'), '{"generation":"0","created_at":null,"verified_at":null}'],
    ['an event that is not JSON', 'events', Buffer.alloc(8), 'x'],
    ['an event without a number', 'events', Buffer.alloc(3), '{}'],
  ])('that holds %s is refused: nothing is skipped', async (_name, table, key, value) => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, mode)).close()
    const raw = await rawStore(where, mode)
    await raw.write([{ table, key, value: Buffer.from(value) }])
    await raw.close()
    const opened = open(where, mode).then((control) => control.tenantsOf('sqlite', String))
    expect(await rejectionOf(opened)).toMatchObject({ code: 'file_corrupt', path: where.file })
  })

  it('keeps the newest 10,000 events and no more, in memory and in the file', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, mode)).close()
    const raw = await rawStore(where, mode)
    const operations = Array.from({ length: MOST_EVENTS + 5 }, (_, at) => {
      const key = Buffer.alloc(8)
      key.writeBigUInt64BE(BigInt(at + 1))
      const event = { at: '2026-01-31T12:00:00.000Z', event: 'tenant_found', subject: String(at + 1), note: null }
      return { table: 'events', key, value: Buffer.from(JSON.stringify(event)) }
    })
    await raw.write(operations)
    await raw.close()
    const control = await open(where, mode)
    await control.recordRefusal('key_wrong', '/data/demo.sqlite3')
    expect(control.events.newest(2).map(({ subject }) => subject)).toEqual([
      '/data/demo.sqlite3',
      String(MOST_EVENTS + 5),
    ])
    expect(control.events.newest(Infinity).length).toBe(MOST_EVENTS)
    await control.close()
    expect((await open(where, mode)).events.newest(Infinity).length).toBe(MOST_EVENTS)
  })
})

describe('a control plane with encryption on', () => {
  it('is refused as plaintext, with the command that migrates it', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, 'plain')).close()
    const before = readFileSync(where.file)
    const error = await rejectionOf(open(where, 'encrypted'))
    expect(error).toMatchObject({ code: 'manifest_missing', path: where.file })
    expect(error.remediation).toContain(`nimbus encryption migrate --source ${where.file} --provider redb`)
    expect(readFileSync(where.file)).toEqual(before)
  })

  it('is missed when it is gone and its manifest is not', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, 'encrypted')).close()
    renameSync(where.file, `${where.file}.away`)
    expect(await rejectionOf(open(where, 'encrypted'))).toMatchObject({ code: 'data_missing', path: where.file })
  })

  it('is refused with the manifest of another, made for another file', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, 'encrypted')).close()
    const data = readFileSync(where.file)
    const other = await place(CONTROL_PLANE)
    await (await ControlPlane.open({ directory: other.dataDir, keys: where.provider })).close()
    writeFileSync(other.file, data)
    const opened = ControlPlane.open({ directory: other.dataDir, keys: where.provider })
    expect(await rejectionOf(opened)).toMatchObject({ code: 'file_corrupt', path: other.file })
  })

  it('tells its status without being opened again', async () => {
    const where = await place(CONTROL_PLANE)
    const control = await open(where, 'encrypted')
    expect(await control.status()).toMatchObject({
      path: where.file,
      family: 'control_plane_redb',
      state: 'encrypted',
      profile: 'sealed-redb-1',
      subject: 'db:redb:control:nimbus-control.db',
    })
  })

  it('holds no name and no hash of a token in the clear', async () => {
    const where = await place(CONTROL_PLANE)
    const control = await open(where, 'encrypted')
    const { token, record } = await control.tokens.create({ name: 'a telling name', tenants: ['*'], access: 'write' })
    await control.close()
    const bytes = readFileSync(where.file)
    for (const secret of [token, record.name, record.id, record.prefix]) expect(bytes.includes(secret)).toBe(false)
  })
})

describe('a control plane with encryption off', () => {
  it('is refused when it is encrypted, and names its manifest', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, 'encrypted')).close()
    const error = await rejectionOf(open(where, 'plain'))
    expect(error).toMatchObject({ code: 'encrypted_but_disabled', path: `${where.file}.nimbus-enc` })
  })

  it('without any table is one whose making was interrupted, and is completed', async () => {
    const where = await place(CONTROL_PLANE)
    await KvStore.open({ path: where.file, mode: 'create' }).close()
    await (await open(where, 'plain')).close()
    const raw = await rawStore(where, 'plain')
    expect(Buffer.from(raw.get('nimbus', Buffer.from('layout')) ?? []).toString()).toBe('{"version":1}')
    await raw.close()
  })

  it('holds a token as its hash alone', async () => {
    const where = await place(CONTROL_PLANE)
    const control = await open(where, 'plain')
    const { token, record } = await control.tokens.create({ name: 'reporting', tenants: ['*'], access: 'write' })
    await control.close()
    const bytes = readFileSync(where.file)
    expect(bytes.includes(record.prefix)).toBe(true)
    expect(bytes.includes(token)).toBe(false)
    expect(bytes.includes(token.slice('nbt_'.length))).toBe(false)
  })
})

describe('a creation of the control plane that fails', () => {
  it('takes everything away again', async () => {
    const where = await place(CONTROL_PLANE)
    const openFile = () => {
      throw new Error('no such luck')
    }
    await expect(ControlPlane.open({ directory: where.dataDir, keys: where.provider, openFile })).rejects.toThrow(
      'no such luck',
    )
    expect(readdirSync(where.dataDir)).toEqual([])
  })

  it('that was interrupted is taken away by the next start, which makes another', async () => {
    const where = await place(CONTROL_PLANE)
    const creating = await createProtected(where.file, CONTROL_PLANE.subject, where.provider, 'sealed-redb-1')
    writeFileSync(`${where.file}.creating`, 'half')
    const control = await open(where, 'encrypted')
    expect(
      readdirSync(where.dataDir)
        .map((name) => path.basename(name))
        .sort(),
    ).toEqual(['nimbus-control.db', 'nimbus-control.db.nimbus-enc', 'nimbus-control.db.nimbus-lock'])
    const { fileId } = await openProtected(where.file, CONTROL_PLANE.subject, where.provider)
    expect(Buffer.compare(fileId, creating.fileId)).not.toBe(0)
    creating.dek.close()
    await control.close()
  })
})
