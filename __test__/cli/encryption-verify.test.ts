import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { newHome, runNimbus, startServer, type Home } from '../support/cli.js'
import { snapshot } from '../support/tree.js'

async function homeWithTenant(): Promise<Home> {
  const home = newHome()
  const server = await startServer(home)
  await server.request('POST', '/api/tenants', { id: 'demo' })
  const fields = { text: 'x'.repeat(20_000) }
  await server.request('POST', '/api/tenants/demo/documents', { table: 'notes', fields })
  await server.stop()
  const file = path.join(home.dataDir, 'demo.sqlite3')
  const rotate = ['encryption', 'rotate-dek', '--path', file, '--provider', 'sqlite', '--tenant-id', 'demo']
  expect(await runNimbus(rotate, home.env)).toMatchObject({ code: 0 })
  return home
}

/** All but the control plane, which is told of the verification. */
const databasesOf = (home: Home) =>
  Object.fromEntries(Object.entries(snapshot(home.dataDir)).filter(([name]) => !name.includes('nimbus-control.db')))

const verify = (home: Home, target: string, ...args: string[]) =>
  runNimbus(['encryption', 'verify', '--path', target, ...args], home.env)

describe('nimbus encryption verify', () => {
  it('finds every file of a directory and its backups whole, and one file alone, and changes none of them', async () => {
    const home = await homeWithTenant()
    const before = databasesOf(home)
    const { code, stdout, stderr } = await verify(home, home.dataDir, '--format', 'json')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { results } = JSON.parse(stdout) as { results: { path: string; pages: number }[] }
    const names = results.map((result) => path.basename(result.path))
    expect(names).toEqual(expect.arrayContaining(['demo.sqlite3', 'demo.sqlite3.bak']))
    for (const result of results) {
      expect(result).toMatchObject({ outcome: 'sound', damaged_pages: [], unreferenced_pages: [] })
      expect(result.pages).toBeGreaterThan(5)
    }
    expect(await verify(home, path.join(home.dataDir, 'demo.sqlite3'))).toMatchObject({ code: 0 })
    expect(databasesOf(home)).toEqual(before)
  })

  it('ends with 5 and names file and page when one is damaged, and when a file is plaintext', async () => {
    const home = await homeWithTenant()
    const backup = path.join(home.dataDir, 'demo.sqlite3.bak')
    const bytes = readFileSync(backup)
    bytes.writeUInt8(bytes.readUInt8(4 * 4096 + 9) ^ 4, 4 * 4096 + 9)
    writeFileSync(backup, bytes)
    const { code, stdout } = await verify(home, home.dataDir)
    expect(code).toBe(5)
    expect(stdout).toContain(`damaged: ${backup}\n  page 5 lost`)
    expect(stdout).toContain(`sound: ${path.join(home.dataDir, 'demo.sqlite3')}\n`)
    const plain = path.join(home.dataDir, 'plain.sqlite3')
    writeFileSync(plain, Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(4080)]))
    expect(await verify(home, plain)).toMatchObject({ code: 5, stdout: expect.stringContaining('failed') as string })
  })

  it('tells the control plane when, and what was found, for the next server to say', async () => {
    const home = await homeWithTenant()
    const file = path.join(home.dataDir, 'demo.sqlite3')
    const statusOf = async () => {
      const server = await startServer(home)
      const { text } = await server.request('GET', '/debug/encryption/status')
      const events = await server.request('GET', '/debug/encryption/events?limit=1')
      await server.stop()
      const { files } = JSON.parse(text) as { files: { path: string; verified_at: string; note?: string }[] }
      const entry = files.find((known) => known.path === file)
      return { newest: events.body.data[0], verified_at: entry?.verified_at ?? '', note: entry?.note }
    }
    // The change of the DEK that made the backup has read every page.
    const rotated = await statusOf()
    expect(await verify(home, home.dataDir)).toMatchObject({ code: 0, stderr: '' })
    const whole = await statusOf()
    expect(whole.verified_at > rotated.verified_at).toBe(true)
    const bytes = readFileSync(file)
    bytes.writeUInt8(bytes.readUInt8(4 * 4096 + 9) ^ 4, 4 * 4096 + 9)
    writeFileSync(file, bytes)
    expect(await verify(home, file)).toMatchObject({ code: 5, stderr: '' })
    const newest = { event: 'defect_found', subject: 'db:sqlite:tenant:demo:demo.sqlite3', note: 'page 5 lost' }
    expect(await statusOf()).toMatchObject({ verified_at: whole.verified_at, note: 'page 5 lost', newest })
    bytes.writeUInt8(bytes.readUInt8(4 * 4096 + 9) ^ 4, 4 * 4096 + 9)
    writeFileSync(file, bytes)
    expect(await verify(home, file)).toMatchObject({ code: 0, stderr: '' })
    const mended = await statusOf()
    expect(mended.note).toBeUndefined()
    expect(mended.verified_at > whole.verified_at).toBe(true)
  })

  it('says why it could not tell the control plane, whose result stands', async () => {
    const home = await homeWithTenant()
    const control = path.join(home.dataDir, 'nimbus-control.db')
    const bytes = readFileSync(control)
    bytes.fill(0, 2 * 4096, 32 * 4096)
    writeFileSync(control, bytes)
    const all = await verify(home, home.dataDir)
    expect(all).toMatchObject({ code: 5, stdout: expect.stringContaining(`failed: ${control}`) as string })
    expect(all.stderr).toContain(`the control plane was not told of this verification: ${control} is not whole itself`)
    const one = await verify(home, path.join(home.dataDir, 'demo.sqlite3'))
    expect(one.code).toBe(0)
    expect(one.stderr).toContain('the control plane was not told of this verification: ')
  })

  it('is refused for a file in a directory that a server owns, and without a path', async () => {
    const home = await homeWithTenant()
    const server = await startServer(home)
    expect(await verify(home, path.join(home.dataDir, 'demo.sqlite3'))).toMatchObject({ code: 6, stdout: '' })
    expect(await runNimbus(['encryption', 'verify'], home.env)).toMatchObject({ code: 2 })
    await server.stop()
  })
})
