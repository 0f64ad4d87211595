import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { holdDirectory } from '../../src/encryption/hold.js'
import { newHome, runNimbus, startServer, type Home } from '../support/cli.js'
import { writeIn } from '../support/directory.js'
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
    const failed = await verify(home, plain)
    expect(failed.code).toBe(5)
    expect(failed.stdout).toContain(`failed: ${plain}\n  sidecar manifest is missing`)
    expect(failed.stdout).toContain(`nimbus encryption migrate --source ${plain} --provider sqlite`)
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
    bytes.fill(0, 2 * 4096, 514 * 4096)
    writeFileSync(control, bytes)
    const all = await verify(home, home.dataDir)
    expect(all).toMatchObject({ code: 5, stdout: expect.stringContaining(`failed: ${control}`) as string })
    expect(all.stderr).toContain(`the control plane was not told of this verification: ${control} is not whole itself`)
    const one = await verify(home, path.join(home.dataDir, 'demo.sqlite3'))
    expect(one.code).toBe(0)
    expect(one.stderr).toContain('the control plane was not told of this verification: ')
  })

  it('records what was reached by a link', async () => {
    const home = await homeWithTenant()
    const link = path.join(home.root, 'link')
    symlinkSync(home.dataDir, link)
    const file = path.join(home.dataDir, 'demo.sqlite3')
    let verifiedAt = ''
    for (const target of [home.dataDir, link, path.join(link, 'demo.sqlite3')]) {
      for (const dataDir of [home.dataDir, link]) {
        const through = { ...home, env: { ...home.env, NIMBUS_DATA_DIR: dataDir } }
        expect(await verify(through, target)).toMatchObject({ code: 0, stderr: '' })
        const server = await startServer(home)
        const { text } = await server.request('GET', '/debug/encryption/status')
        await server.stop()
        const { files } = JSON.parse(text) as { files: { path: string; verified_at: string }[] }
        const now = files.find((known) => known.path === file)?.verified_at ?? ''
        expect(now > verifiedAt).toBe(true)
        verifiedAt = now
      }
    }
  })

  it('takes a wrong key for no damage: ends with 3, and says nothing of a backup', async () => {
    const home = await homeWithTenant()
    const newKey = writeIn(home.root, 'new.key', randomBytes(32), 0o400)
    const rotate = ['encryption', 'rotate-kek', '--path', home.dataDir, '--all', '--new-master-key-file', newKey]
    expect(await runNimbus(rotate, home.env)).toMatchObject({ code: 0 })
    const { code, stdout, stderr } = await verify(home, home.dataDir)
    expect({ code, stderr }).toEqual({ code: 3, stderr: '' })
    expect(stdout).toContain('wrong key for')
    expect(stdout).not.toMatch(/backup\b(?!\.)/)
    // What is known to be wrong beside it counts.
    rmSync(path.join(home.dataDir, 'demo.sqlite3.nimbus-enc'))
    const both = await verify(home, home.dataDir)
    expect(both.code).toBe(5)
    expect(both.stderr).toContain('the control plane was not told of this verification: wrong key for')
  })

  it('is an error where there is no database, and of a file that does not exist', async () => {
    const home = newHome()
    mkdirSync(home.dataDir)
    const empty = await verify(home, home.dataDir)
    expect(empty).toMatchObject({ code: 5, stdout: '' })
    expect(empty.stderr).toContain(`there is no database in ${home.dataDir}`)
    const missing = await verify(home, path.join(home.root, 'none'))
    expect(missing).toMatchObject({ code: 5, stdout: '' })
    expect(missing.stderr).toContain('none does not exist')
    expect(readdirSync(home.root).filter((name) => name.startsWith('none'))).toEqual([])
  })

  it('names the holder of a directory that no server has, and not the token file alone', async () => {
    const home = await homeWithTenant()
    rmSync(home.tokenFile)
    const held = holdDirectory(home.dataDir)
    const refused = await verify(home, home.dataDir)
    held.release()
    expect(refused).toMatchObject({ code: 6, stdout: '' })
    expect(refused.stderr).toContain(`process ${String(process.pid)}`)
    expect(refused.stderr).toContain('NIMBUS_AUTH_TOKEN_FILE')
  })

  it('is refused for a file in a directory that a server owns, and without a path', async () => {
    const home = await homeWithTenant()
    const server = await startServer(home)
    expect(await verify(home, path.join(home.dataDir, 'demo.sqlite3'))).toMatchObject({ code: 6, stdout: '' })
    expect(await runNimbus(['encryption', 'verify'], home.env)).toMatchObject({ code: 2 })
    await server.stop()
  })
})
