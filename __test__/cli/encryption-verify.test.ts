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

const verify = (home: Home, target: string, ...args: string[]) =>
  runNimbus(['encryption', 'verify', '--path', target, ...args], home.env)

describe('nimbus encryption verify', () => {
  it('finds every file of a directory and its backups whole, and one file alone, and writes nothing', async () => {
    const home = await homeWithTenant()
    const before = snapshot(home.dataDir)
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
    expect(snapshot(home.dataDir)).toEqual(before)
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

  it('is refused while a server owns the directory, and without a path', async () => {
    const home = await homeWithTenant()
    const server = await startServer(home)
    expect(await verify(home, home.dataDir)).toMatchObject({ code: 6, stdout: '' })
    expect(await runNimbus(['encryption', 'verify'], home.env)).toMatchObject({ code: 2 })
    await server.stop()
  })
})
