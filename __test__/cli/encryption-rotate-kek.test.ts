import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { newHome, runNimbus, startServer, type Environment, type Finished, type Home } from '../support/cli.js'
import { writeIn } from '../support/directory.js'
import { snapshot } from '../support/tree.js'

const rotate = (env: Environment, ...args: string[]): Promise<Finished> =>
  runNimbus(['encryption', 'rotate-kek', ...args], env)

async function homeWith(...tenants: string[]): Promise<Home> {
  const home = newHome()
  const server = await startServer(home)
  for (const id of tenants) {
    await server.request('POST', '/api/tenants', { id })
    await server.request('POST', `/api/tenants/${id}/documents`, { table: 'notes', fields: { of: id } })
  }
  await server.stop()
  return home
}

const newKey = ({ root }: Home): string =>
  writeIn(root, `${randomBytes(4).toString('hex')}.key`, randomBytes(32), 0o400)
const under = (home: Home, key: string): Home => ({
  ...home,
  keyFile: key,
  env: { ...home.env, NIMBUS_ENCRYPTION_MASTER_KEY_FILE: key },
})
const fileOf = ({ dataDir }: Home, tenant: string): string => path.join(dataDir, `${tenant}.sqlite3`)
const controlPlaneOf = ({ dataDir }: Home): string => path.join(dataDir, 'nimbus-control.db')
const resultsOf = ({ stdout }: Finished): { path: string; outcome: string; note?: string }[] =>
  (JSON.parse(stdout) as { results: { path: string; outcome: string }[] }).results

async function serves(home: Home, tenant: string): Promise<void> {
  const server = await startServer(home)
  const page = await server.request('POST', `/api/tenants/${tenant}/query`, { table: 'notes' })
  expect(JSON.parse(page.text)).toMatchObject({ data: [{ fields: { of: tenant } }] })
  await server.stop()
}

describe('nimbus encryption rotate-kek', () => {
  it('rotates one file; the server then starts with the new key, and not with the old one', async () => {
    const home = await homeWith('demo')
    const key = newKey(home)
    const file = fileOf(home, 'demo')
    const first = await rotate(home.env, '--path', file, '--new-master-key-file', key)
    expect(first).toMatchObject({ code: 0, stdout: `rotated: ${file}\n` })
    expect(first.stderr).toContain('Configure the new key for every start')
    const half = await runNimbus(['start', '--port', '0'], under(home, key).env)
    expect(half).toMatchObject({ code: 3 })
    expect(half.stderr).toContain(`wrong key for ${controlPlaneOf(home)}.nimbus-enc`)
    const control = await rotate(home.env, '--path', controlPlaneOf(home), '--new-master-key-file', key)
    expect(control).toMatchObject({ code: 0, stdout: `rotated: ${controlPlaneOf(home)}\n` })
    await serves(under(home, key), 'demo')
    const wrong = await runNimbus(['start', '--port', '0'], home.env)
    expect(wrong).toMatchObject({ code: 3 })
    expect(wrong.stderr).toContain(key)
    const again = await rotate(home.env, '--path', file, '--new-master-key-file', key, '--format', 'json')
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(again.stdout)).toEqual({
      command: 'encryption rotate-kek',
      results: [{ path: file, outcome: 'skipped' }],
    })
  })

  it('says that a backup is still under the old key, and takes backups along with --all', async () => {
    const home = await homeWith('demo')
    const key = newKey(home)
    const file = fileOf(home, 'demo')
    copyFileSync(file, `${file}.bak`)
    copyFileSync(`${file}.nimbus-enc`, `${file}.bak.nimbus-enc`)
    const single = await rotate(home.env, '--path', file, '--new-master-key-file', key)
    expect(single.stdout).toContain(`its backup ${file}.bak is still wrapped by the old key`)
    const all = await rotate(
      home.env,
      '--path',
      home.dataDir,
      '--all',
      '--new-master-key-file',
      key,
      '--format',
      'json',
    )
    expect(resultsOf(all)).toEqual([
      { path: file, outcome: 'skipped' },
      { path: `${file}.bak`, outcome: 'rotated' },
      { path: controlPlaneOf(home), outcome: 'rotated' },
    ])
    // The documented way back: file and manifest together.
    const copy = (from: string, to: string): void =>
      copyFileSync(path.join(home.dataDir, from), path.join(home.dataDir, to))
    copy('demo.sqlite3.bak', 'demo.sqlite3')
    copy('demo.sqlite3.bak.nimbus-enc', 'demo.sqlite3.nimbus-enc')
    await serves(under(home, key), 'demo')
  })

  it('goes through a directory, and below it with --recursive; one bad file ends it with 1', async () => {
    const home = await homeWith('one', 'two')
    const key = newKey(home)
    const below = path.join(home.dataDir, 'below')
    mkdirSync(below)
    for (const name of ['two.sqlite3', 'two.sqlite3.nimbus-enc'])
      copyFileSync(path.join(home.dataDir, name), path.join(below, name))
    writeFileSync(`${fileOf(home, 'one')}.nimbus-enc`, 'not a manifest')
    const flat = await rotate(home.env, '--path', home.dataDir, '--all', '--new-master-key-file', key)
    expect(flat.code).toBe(1)
    expect(flat.stdout).toContain(`failed: ${fileOf(home, 'one')}\n  sidecar manifest refused`)
    expect(flat.stdout).toContain(`rotated: ${fileOf(home, 'two')}\n`)
    expect(flat.stdout).not.toContain('below')
    const args = ['--path', home.dataDir, '--all', '--recursive', '--new-master-key-file', key, '--format', 'json']
    const deep = await rotate(home.env, ...args)
    expect(deep.code).toBe(1)
    expect(resultsOf(deep).map(({ outcome }) => outcome)).toEqual(['skipped', 'failed', 'skipped', 'rotated'])
  })

  it('changes nothing in a dry run', async () => {
    const home = await homeWith('demo')
    const key = newKey(home)
    const before = snapshot(home.dataDir)
    const { code, stdout } = await rotate(
      home.env,
      '--path',
      home.dataDir,
      '--all',
      '--new-master-key-file',
      key,
      '--dry-run',
    )
    const checked = [fileOf(home, 'demo'), controlPlaneOf(home)].map((file) => `checked: ${file}\n`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: checked.join('') })
    expect(snapshot(home.dataDir)).toEqual(before)
  })

  it('is refused while a server owns the directory, naming its process', async () => {
    const home = await homeWith('demo')
    const key = newKey(home)
    const server = await startServer(home)
    for (const target of [[fileOf(home, 'demo')], [home.dataDir, '--all']]) {
      const refused = await rotate(home.env, '--path', ...target, '--new-master-key-file', key)
      expect(refused).toMatchObject({ code: 6, stdout: '' })
      expect(refused.stderr).toContain(`process ${String(server.process.pid)}`)
    }
    await server.stop()
    await serves(home, 'demo')
  })

  it('ends with the code of what is wrong with a single file', async () => {
    const home = await homeWith('demo')
    const file = fileOf(home, 'demo')
    const key = newKey(home)
    const wrong = await rotate(under(home, newKey(home)).env, '--path', file, '--new-master-key-file', newKey(home))
    expect(wrong).toMatchObject({ code: 3, stdout: '' })
    const missing = await rotate(home.env, '--path', `${file}.gone`, '--new-master-key-file', key)
    expect(missing).toMatchObject({ code: 5, stdout: '' })
    expect(missing.stderr).toContain(`${file}.gone does not exist, nor does a manifest of it`)
    expect(existsSync(`${file}.gone.nimbus-lock`)).toBe(false)
    const inside = writeIn(home.dataDir, 'inside.key', randomBytes(32), 0o400)
    expect(await rotate(home.env, '--path', file, '--new-master-key-file', inside)).toMatchObject({ code: 2 })
    rmSync(inside)
    const absent = await rotate(home.env, '--path', file, '--new-master-key-file', path.join(home.root, 'no.key'))
    expect(absent).toMatchObject({ code: 3 })
    expect(readdirSync(home.dataDir).filter((name) => name.endsWith('.tmp'))).toEqual([])
    expect(JSON.parse(readFileSync(`${file}.nimbus-enc`, 'utf8'))).toMatchObject({ current: { hint: home.keyFile } })
  })

  it.each([
    [['--new-master-key-file', 'k'], '--path is not given'],
    [['--path', '.', '--new-master-key-file', 'k'], '. is a directory: give --all'],
    [['--path', 'package.json', '--all', '--new-master-key-file', 'k'], '--all needs a directory'],
    [['--path', 'x', '--recursive', '--new-master-key-file', 'k'], '--recursive goes with --all'],
    [
      ['--path', 'x'],
      'the new key is not named: give one of --new-master-key-file, --new-key-dir, --new-aws-kms-key-id',
    ],
    [
      ['--path', 'x', '--new-key-dir', 'd', '--new-master-key-file', 'k'],
      '--new-master-key-file and --new-key-dir name two keys',
    ],
    [['--path', 'x', '--new-key-provider', 'key-dir'], '--new-key-provider key-dir needs --new-key-dir'],
    [
      ['--path', 'x', '--new-key-provider', 'vault'],
      '--new-key-provider must be one of master-key-file, key-dir, aws-kms',
    ],
    [
      ['--path', 'x', '--new-key-provider', 'master-key-file', '--new-master-key-file', 'k', '--new-aws-region', 'r'],
      '--new-aws-region belongs to aws-kms, and the new provider is master-key-file',
    ],
    [
      ['--path', 'x', '--encryption-master-key-file', 'k'],
      'takes no server flags such as --encryption-master-key-file',
    ],
  ])('refuses %j', async (args, what) => {
    const { env } = newHome()
    const { code, stderr, stdout } = await rotate(env, ...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(what)
    expect(stderr).toMatch(/\nhint: .+\n$/)
  })

  it('is refused without encryption', async () => {
    const { code, stderr } = await rotate({}, '--path', 'x', '--new-master-key-file', 'k')
    expect(code).toBe(2)
    expect(stderr).toContain('encryption is not configured')
  })
})
