import { existsSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ControlPlane } from '../../src/control/control-plane.js'
import { MOST_EVENTS } from '../../src/control/events.js'
import { createProtected, openProtected } from '../../src/encryption/protect.js'
import { KvStore } from '../../src/native.js'
import { CONTROL_PLANE, type Place, place } from '../encryption/setup.js'
import { rejectionOf } from '../support/failure.js'
import { openControlPlane } from './open.js'

const modes = ['encrypted', 'plain'] as const
type Mode = (typeof modes)[number]

async function open(where: Place, mode: Mode): Promise<ControlPlane> {
  const keys = mode === 'encrypted' ? where.provider : undefined
  const control = await openControlPlane({ directory: where.dataDir, keys })
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

const SEEN = {
  subject: 'db:sqlite:tenant:demo:demo.sqlite3',
  state: 'encrypted',
  generation: '3',
  created_at: '2026-01-31T00:00:00.000Z',
  rotated_at: null,
  key_id: 'one',
} as const

/** Rows as nimbus writes them; each test spoils one member. */
const TOKEN = {
  id: '0123456789abcdef',
  prefix: 'nbt_01234567',
  name: 'reporting',
  tenants: ['demo'],
  access: 'read',
  created_at: '2026-01-31T12:00:00.000Z',
  expires_at: null,
  revoked_at: null,
}
const FILE = {
  generation: '1',
  created_at: '2026-01-31T12:00:00.000Z',
  rotated_at: null,
  key_id: null,
  verified_at: null,
}
const EVENT = { at: '2026-01-31T12:00:00.000Z', event: 'tenant_found', subject: 'x', note: null }

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
    await tenants.finishCreation('demo', Date.UTC(2026, 0, 31), SEEN)
    const { record } = await before.tokens.create({ name: 'reporting', tenants: ['demo'], access: 'read' })
    await before.close()

    const after = await open(where, mode)
    expect(after.tenantsOf('sqlite', String).all()).toEqual([['demo', 'active']])
    expect(after.tenantsOf('redb', String).all()).toEqual([])
    expect(after.tokens.all()).toEqual([record])
    expect(await after.files.observe([SEEN], new Set())).toEqual([])
    expect(await after.files.observe([{ ...SEEN, generation: '2' }], new Set())).toEqual([
      expect.stringContaining('an older file was put back: its key is of generation 2, and 3 was here before'),
    ])
    expect(after.events.newest(3).map(({ event, subject }) => [event, subject])).toEqual([
      ['older_file_put_back', SEEN.subject],
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
    [
      'a tenant in an unknown state',
      'tenants',
      Buffer.from('sqlite/demo'),
      '{"state":"asleep","created_at":null,"recorded_at":"2026-01-31T12:00:00.000Z"}',
    ],
    ['a token with a member too many', 'tokens', Buffer.from('00'), JSON.stringify({ ...TOKEN, token: 'nbt_secret' })],
    ['a token with a member too few', 'tokens', Buffer.from('00'), JSON.stringify({ ...TOKEN, expires_at: undefined })],
    ['a token of no access', 'tokens', Buffer.from('00'), JSON.stringify({ ...TOKEN, access: 'admin' })],
    ['a file of no generation', 'files', Buffer.from('x'), JSON.stringify({ ...FILE, generation: '0' })],
    ['a file made at no time', 'files', Buffer.from('x'), JSON.stringify({ ...FILE, created_at: '2026-01-31' })],
    ['an event that is not JSON', 'events', Buffer.alloc(8), 'x'],
    ['an event without a number', 'events', Buffer.alloc(3), JSON.stringify(EVENT)],
    ['an event of no name', 'events', Buffer.alloc(8), JSON.stringify({ ...EVENT, event: 'other' })],
  ])('that holds %s is refused: nothing is skipped', async (_name, table, key, value) => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, mode)).close()
    const raw = await rawStore(where, mode)
    await raw.write([{ table, key, value: Buffer.from(value) }])
    await raw.close()
    const opened = open(where, mode).then((control) => control.tenantsOf('sqlite', String))
    expect(await rejectionOf(opened)).toMatchObject({ code: 'file_corrupt', path: where.file })
  })

  it('with the rows that the refusals above spoil is opened', async () => {
    const where = await place(CONTROL_PLANE)
    await (await open(where, mode)).close()
    const raw = await rawStore(where, mode)
    const rowsOf = { tokens: TOKEN, files: FILE, events: EVENT }
    await raw.write(
      Object.entries(rowsOf).map(([table, row]) => ({
        table,
        key: Buffer.from([0, 0, 0, 0, 0, 0, 0, 9]),
        value: Buffer.from(JSON.stringify(row)),
      })),
    )
    await raw.close()
    expect((await open(where, mode)).tokens.all()).toEqual([TOKEN])
  })

  it('tells of the same refusal once, however often the start is tried', async () => {
    const where = await place(CONTROL_PLANE)
    const control = await open(where, mode)
    for (const code of ['key_wrong', 'key_wrong', 'key_missing', 'key_wrong'])
      await control.recordRefusal(code, '/data/demo.sqlite3')
    expect(control.events.newest(4).map(({ note }) => note)).toEqual(['key_wrong', 'key_missing', 'key_wrong', mode])
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
    await (await openControlPlane({ directory: other.dataDir, keys: where.provider })).close()
    writeFileSync(other.file, data)
    const opened = openControlPlane({ directory: other.dataDir, keys: where.provider })
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
    await expect(openControlPlane({ directory: where.dataDir, keys: where.provider, openFile })).rejects.toThrow(
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
