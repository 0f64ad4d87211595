import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { newHome, plainEnv, runNimbus, spawnNimbus, startServer, type Finished, type Home } from '../support/cli.js'

interface PlainHome extends Home {
  readonly file: string
  readonly ids: string[]
}

/** A home whose one tenant was served without encryption. */
async function plainHome(): Promise<PlainHome> {
  const home = newHome()
  const server = await startServer(home, [], plainEnv(home))
  await server.request('POST', '/api/tenants', { id: 'demo' })
  const ids: string[] = []
  for (const title of ['first', 'second']) {
    const answer = await server.request('POST', '/api/tenants/demo/documents', { table: 'notes', fields: { title } })
    ids.push(answer.body.id)
  }
  await server.stop()
  return { ...home, file: path.join(home.dataDir, 'demo.sqlite3'), ids }
}

const SUBJECT = ['--provider', 'sqlite', '--tenant-id', 'demo']
const migrate = ({ env, file }: PlainHome, ...more: string[]): Promise<Finished> =>
  runNimbus(['encryption', 'migrate', '--source', file, ...SUBJECT, ...more], env)
const exportTo = ({ env, file }: PlainHome, target: string, ...more: string[]): Promise<Finished> =>
  runNimbus(['encryption', 'export', '--source', file, '--target', target, ...SUBJECT, ...more], env)

/** The rename that the result tells of. */
function serveCopy({ file }: { readonly file: string }): void {
  renameSync(`${file}.encrypted`, file)
  renameSync(`${file}.encrypted.nimbus-enc`, `${file}.nimbus-enc`)
}

async function titles(home: PlainHome, env = home.env): Promise<unknown[]> {
  const server = await startServer(home, [], env)
  const found = await Promise.all(
    home.ids.map((id) => server.request('GET', `/api/tenants/demo/documents/notes/${id}`)),
  )
  await server.stop()
  return found.map(({ body }) => body.fields.title)
}

/** Whether an API token that was made before the copies is good after them, and what the control plane tells of them. */
async function tokenAndEvents(home: PlainHome, token: string, env = home.env): Promise<unknown[]> {
  const server = await startServer(home, [], env)
  const { status } = await server.request('GET', `/api/tenants/demo/documents/notes/${home.ids[0]}`, undefined, {
    authorization: `Bearer ${token}`,
  })
  const events = await server.request('GET', '/debug/encryption/events')
  await server.stop()
  return [status, ...events.body.data.map(({ event, subject }) => `${event} ${subject}`)]
}

describe('the way of the control plane from plaintext to encrypted and back', () => {
  it('keeps its tokens, and it tells of both', async () => {
    const home = await plainHome()
    const control = { ...home, file: path.join(home.dataDir, 'nimbus-control.db') }
    const before = await startServer(home, [], plainEnv(home))
    const made = await before.request('POST', '/api/tokens', { name: 'x', tenants: ['demo'], access: 'read' })
    await before.stop()

    const redb = ['--provider', 'redb']
    const migrated = await runNimbus(
      ['encryption', 'migrate', '--source', control.file, ...redb, '--retire-source'],
      home.env,
    )
    expect(migrated).toMatchObject({ code: 0, stderr: '' })
    serveCopy(control)
    expect(await migrate(home, '--retire-source')).toMatchObject({ code: 0 })
    serveCopy(home)
    expect(await tokenAndEvents(home, made.body.token)).toEqual([
      200,
      'file_encrypted db:redb:control:nimbus-control.db',
      'file_encrypted db:sqlite:tenant:demo:demo.sqlite3',
      `token_created token:${made.body.id}`,
      'tenant_created db:sqlite:tenant:demo:demo.sqlite3',
      'control_plane_created db:redb:control:nimbus-control.db',
    ])

    const recovered = path.join(home.root, 'recovery')
    mkdirSync(recovered, { mode: 0o700 })
    for (const [file, subject] of [[control.file, redb] as const, [home.file, SUBJECT] as const]) {
      const args = ['--source', file, '--target', path.join(recovered, path.basename(file)), ...subject]
      expect(await runNimbus(['encryption', 'export', ...args], home.env)).toMatchObject({ code: 0, stderr: '' })
    }
    const env = { ...plainEnv(home), NIMBUS_DATA_DIR: recovered }
    const after = await tokenAndEvents(home, made.body.token, env)
    expect(after.slice(0, 3)).toEqual([
      200,
      'file_decrypted db:redb:control:nimbus-control.db',
      'file_decrypted db:sqlite:tenant:demo:demo.sqlite3',
    ])
    expect((await runNimbus(['encryption', 'status'], home.env)).code).toBe(0)
  })
})

describe('the way from plaintext to encrypted and back', () => {
  it('is that of the documentation: what was served before is served after', async () => {
    const home = await plainHome()
    const control = path.join(home.dataDir, 'nimbus-control.db')
    const refusedControl = await runNimbus(['start', '--port', '0'], home.env)
    expect(refusedControl.stderr).toContain(`nimbus encryption migrate --source ${control} --provider redb`)
    const source = ['--source', control, '--provider', 'redb', '--retire-source']
    expect(await runNimbus(['encryption', 'migrate', ...source], home.env)).toMatchObject({ code: 0 })
    serveCopy({ file: control })
    const refused = await runNimbus(['start', '--port', '0'], home.env)
    expect(refused.stderr).toContain('sidecar manifest is missing')
    expect(refused.stderr).toContain(
      `nimbus encryption migrate --source ${home.file} --provider sqlite --tenant-id demo`,
    )

    const migrated = await migrate(home, '--retire-source', '--format', 'json')
    expect(migrated).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(migrated.stdout)).toMatchObject({
      command: 'encryption migrate',
      results: [{ path: `${home.file}.encrypted`, outcome: 'migrated' }],
    })
    expect(existsSync(home.file)).toBe(false)
    serveCopy(home)
    expect(await titles(home)).toEqual(['first', 'second'])
    expect((await runNimbus(['encryption', 'status'], home.env)).code).toBe(0)
    for (const name of readdirSync(home.dataDir)) {
      expect(readFileSync(path.join(home.dataDir, name)).includes('second')).toBe(false)
    }

    const recovered = path.join(home.root, 'recovery')
    mkdirSync(recovered, { mode: 0o700 })
    const exported = await exportTo(home, path.join(recovered, 'demo.sqlite3'))
    expect(exported).toMatchObject({ code: 0, stderr: '' })
    expect(exported.stdout).toMatch(/^exported: .*\n {2}It is plaintext: .*\n$/)
    expect(await titles(home, { ...plainEnv(home), NIMBUS_DATA_DIR: recovered })).toEqual(['first', 'second'])
  })

  it('says for people what is left to do', async () => {
    const home = await plainHome()
    const { stdout } = await migrate(home)
    expect(stdout).toBe(
      `migrated: ${home.file}.encrypted\n  The plaintext ${home.file} is still there. ` +
        'To serve the copy, rename it and its manifest to demo.sqlite3.\n',
    )
  })
})

describe('a copy is refused', () => {
  it('while a server owns the directory, and names it', async () => {
    const home = await plainHome()
    const server = await startServer(home, [], plainEnv(home))
    const { code, stderr } = await migrate(home)
    expect(code).toBe(6)
    expect(stderr).toContain(`process ${server.process.pid}`)
    await server.stop()
  })

  it.each([
    [['migrate', '--source', 'x', '--provider', 'sqlite'], 2, '--provider sqlite needs --tenant-id'],
    [['migrate', '--source', 'x', '--provider', 'redb'], 2, '--tenant-id is left out only for nimbus-control.db'],
    [['migrate', '--provider', 'sqlite', '--tenant-id', 'demo'], 2, '--source is not given'],
    [['migrate', '--source', 'x', ...SUBJECT, '--profile', 'rot13'], 2, '--profile must be one'],
    [['migrate', '--source', 'x', ...SUBJECT, '--data-dir', '/x'], 2, 'takes no server flags'],
    [['migrate', '--source', '/nowhere/x', ...SUBJECT], 2, '--source /nowhere/x does not exist'],
    [['export', '--source', '/nowhere/x', '--target', 'y', ...SUBJECT], 5, '/nowhere/x does not exist'],
    [['migrate', '--source', 'package.json', '--provider', 'libsql-cache', '--tenant-id', 'a'], 2, 'rebuilt from the'],
    [['export', '--source', 'x', ...SUBJECT], 2, '--target is not given'],
    [['export', '--source', 'x', '--target', 'y', '--provider', 'libsql-cache', '--tenant-id', 'a'], 2, 'rebuilt from'],
  ])('%j', async (args, exitCode, message) => {
    const { code, stdout, stderr } = await runNimbus(['encryption', ...args], newHome().env)
    expect(stderr).toContain(message)
    expect(stderr).toContain('\nhint: ')
    expect(stdout).toBe('')
    expect(code).toBe(exitCode)
  })

  it('when encryption is not configured', async () => {
    const home = await plainHome()
    for (const run of [migrate, exportTo]) {
      const { code, stderr } = await run({ ...home, env: plainEnv(home) }, '--target')
      expect(code).toBe(2)
      expect(stderr).not.toBe('')
    }
    expect((await migrate({ ...home, env: plainEnv(home) })).stderr).toContain('encryption is not configured')
    expect((await exportTo({ ...home, env: plainEnv(home) }, 'x')).stderr).toContain('encryption is not configured')
  })
})

describe('a copy that does not come to its end', () => {
  /** 30 MB: long enough to be met by a signal, too large for the disk below. */
  const GROW = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("create table ballast (bytes)")
database.execute("with recursive n (x) as (select 1 union all select x + 1 from n limit 15000) insert into ballast select randomblob(2000) from n")
database.commit()
`

  it('because of Ctrl-C ends with 130, leaves nothing, and works the next time', async () => {
    const home = await plainHome()
    execFileSync('python3', ['-c', GROW, home.file])
    const before = readFileSync(home.file)
    const run = spawnNimbus(['encryption', 'migrate', '--source', home.file, ...SUBJECT], home.env)
    while (!existsSync(`${home.file}.encrypted`)) await new Promise((resolve) => setTimeout(resolve, 2))
    run.process.kill('SIGINT')
    const { code, stderr, stdout } = await run.finished
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
    expect(stderr).toBe('nimbus: interrupted by SIGINT\nhint: Run the command again; the files are consistent.\n')
    expect(readdirSync(home.dataDir).filter((name) => name.includes('encrypted') && !name.endsWith('lock'))).toEqual([])
    expect(readFileSync(home.file).equals(before)).toBe(true)
    expect((await migrate(home)).code).toBe(0)
  })

  it('because of a full disk says so, leaves nothing, and works where there is room', async () => {
    const home = await plainHome()
    execFileSync('python3', ['-c', GROW, home.file])
    const tiny = path.join(home.root, 'tiny')
    mkdirSync(tiny, { mode: 0o700 })
    const script = `mount -t tmpfs -o size=4m,mode=0700 tmpfs "${tiny}" && "$@"; code=$?; ls "${tiny}"; exit $code`
    const onTinyDisk = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']
    const target = ['--target', path.join(tiny, 'copy')]
    const args = ['encryption', 'migrate', '--source', home.file, ...SUBJECT, ...target]
    const { code, stderr, stdout } = await spawnNimbus(args, home.env, onTinyDisk).finished
    expect(stderr).toMatch(/^nimbus: no space left to write .*\/copy\nhint: .+\n$/)
    expect(code).toBe(1)
    expect(stdout.split('\n').filter((name) => name !== '' && !name.endsWith('lock'))).toEqual([])
    expect((await migrate(home)).code).toBe(0)
    serveCopy(home)
    const back = await spawnNimbus(
      ['encryption', 'export', '--source', home.file, ...SUBJECT, ...target],
      home.env,
      onTinyDisk,
    ).finished
    expect(back.stderr).toContain('no space left')
    expect(back.stdout.split('\n').filter((name) => name !== '' && !name.endsWith('lock'))).toEqual([])
  })
})
