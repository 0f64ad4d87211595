import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { failToStart, newHome, plainEnv, readToken, runNimbus, spawnNimbus, startServer } from '../support/cli.js'
import { allBytes, snapshot } from '../support/tree.js'

const notes = '/api/tenants/demo/documents'

describe('a server with tenants on redb', () => {
  it('keeps what it was given, encrypted, through a kill and a start', async () => {
    const home = newHome()
    const args = ['--tenant-provider', 'redb']
    const first = await startServer(home, args)
    const created = await first.request('POST', '/api/tenants', { id: 'demo' })
    expect(created.body).toMatchObject({ id: 'demo', provider: 'redb', encrypted: true })
    const inserted = await first.request('POST', notes, { table: 'notes', fields: { title: 'plaintext to look for' } })
    expect(inserted.status).toBe(201)
    first.process.kill('SIGKILL')
    await first.finished
    const second = await startServer(home, args)
    expect((await second.request('GET', `${notes}/notes/${inserted.body.id}`)).body).toEqual(inserted.body)
    const status = await second.request('GET', '/debug/encryption/status')
    const open = {
      file_id: expect.stringMatching(/^[0-9a-f]{32}$/),
      epoch: expect.any(Number),
      rolled_back: expect.any(Boolean),
      pages: expect.any(Number),
      file_bytes: statSync(path.join(home.dataDir, 'demo.redb')).size,
    }
    const entry = {
      state: 'encrypted',
      cipher: 'aes-256-gcm-siv',
      profile: 'sealed-redb-1',
      family: 'embedded_redb',
      open,
    }
    const { current } = JSON.parse(readFileSync(path.join(home.dataDir, 'demo.redb.nimbus-enc'), 'utf8')) as {
      current: { file_id: string }
    }
    const asked = await second.request('GET', '/debug/encryption/status')
    expect(asked.text).toContain(`"open":{"file_id":"${current.file_id}"`)
    expect((await second.request('POST', notes, { table: 'notes', fields: {} })).status).toBe(201)
    const epochs = [asked, await second.request('GET', '/debug/encryption/status')].map(({ text }) =>
      Number(/demo\.redb".*?"epoch":(\d+)/.exec(text)?.[1]),
    )
    expect(epochs[1]).toBeGreaterThan(epochs[0] ?? Infinity)
    expect(status.body).toMatchObject({
      encrypted_families: expect.arrayContaining(['embedded_redb']),
      files: expect.arrayContaining([expect.objectContaining(entry)]),
    })
    expect(await second.stop()).toMatchObject({ code: 0, signal: null })
    expect(allBytes(home.dataDir).includes('plaintext to look for')).toBe(false)
  })
})

describe.each([
  ['encrypted', newHome, (home: ReturnType<typeof newHome>) => home.env],
  ['plain', newHome, plainEnv],
] as const)('a server with %s tenants', (kind, make, envOf) => {
  it('keeps what it was given, through a stop and a start', async () => {
    const home = make()
    const first = await startServer(home, [], envOf(home))
    expect((await first.request('POST', '/api/tenants', { id: 'demo' })).body).toMatchObject({
      id: 'demo',
      provider: 'sqlite',
      encrypted: kind === 'encrypted',
    })
    const inserted = await first.request('POST', notes, { table: 'notes', fields: { title: 'Grüße', n: 1 } })
    expect(inserted.status).toBe(201)
    const one = `${notes}/notes/${inserted.body.id}`
    const patched = await first.request('PATCH', one, { fields: { n: 2 }, if_version: 1 })
    expect(patched.body).toMatchObject({ version: 2, fields: { title: 'Grüße', n: 2 } })
    expect((await first.request('PATCH', one, { fields: {}, if_version: 1 })).body.error.code).toBe('version_conflict')
    const stopped = await first.stop()
    expect(stopped).toMatchObject({ code: 0, signal: null })

    const second = await startServer(home, [], envOf(home))
    expect((await second.request('GET', one)).body).toEqual(patched.body)
    const filters = [{ field: 'n', op: 'gte', value: 2 }]
    const found = await second.request('POST', '/api/tenants/demo/query', { table: 'notes', filters })
    expect(found.body.data).toEqual([patched.body])
    expect((await second.request('DELETE', '/api/tenants/demo')).status).toBe(204)
    const left = kind === 'encrypted' ? ['nimbus-control.db', 'nimbus-control.db.nimbus-enc'] : ['nimbus-control.db']
    expect(Object.keys(snapshot(home.dataDir))).toEqual(left)
  })

  it('loses nothing that it acknowledged when it is killed', async () => {
    const home = make()
    const first = await startServer(home, [], envOf(home))
    await first.request('POST', '/api/tenants', { id: 'demo' })
    const acknowledged: string[] = []
    const clients = Array.from({ length: 8 }, async () => {
      for (;;) {
        const answer = await first.request('POST', notes, { table: 't', fields: { text: 'x'.repeat(300) } })
        acknowledged.push(answer.body.id)
        if (acknowledged.length === 200) first.process.kill('SIGKILL')
      }
    })
    await Promise.allSettled(clients)
    expect((await first.finished).signal).toBe('SIGKILL')

    const second = await startServer(home, [], envOf(home))
    expect(acknowledged.length).toBeGreaterThanOrEqual(200)
    for (const id of acknowledged) expect((await second.request('GET', `${notes}/t/${id}`)).status).toBe(200)
  })
})

describe('files', () => {
  it('hold no plaintext and no SQLite header, while the server runs and after it', async () => {
    const home = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const fields = { title: 'a needle in a haystack' }
    await server.request('POST', notes, { table: 'haystack', fields })
    const schema = { fields: { title: { type: 'string' } }, indexes: [{ name: 'by_title', fields: ['title'] }] }
    await server.request('PUT', '/api/tenants/demo/schema/haystack', schema)
    for (const moment of ['running', 'stopped']) {
      if (moment === 'stopped') await server.stop()
      const bytes = allBytes(home.dataDir)
      expect(bytes.length).toBeGreaterThan(4096)
      for (const text of ['needle', 'haystack', 'by_title', 'SQLite format']) expect(bytes).not.toContain(text)
    }
  })

  it('are for their owner only', async () => {
    const home = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const modes = [
      home.dataDir,
      home.tokenFile,
      ...['demo.sqlite3', 'demo.sqlite3.nimbus-enc', 'nimbus-control.db', 'nimbus-control.db.nimbus-enc'].map((name) =>
        path.join(home.dataDir, name),
      ),
    ]
    expect(modes.map((file) => (statSync(file).mode & 0o777).toString(8))).toEqual(['700', ...Array(5).fill('600')])
    expect((statSync(path.dirname(home.tokenFile)).mode & 0o777).toString(8)).toBe('700')
  })
})

describe('stopping', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('by %s finishes running requests and ends with 0', async (signal) => {
    const home = newHome()
    const server = await startServer(home)
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const inserts = Array.from({ length: 20 }, (_, n) => server.request('POST', notes, { table: 't', fields: { n } }))
    await Promise.race(inserts)
    const signalledAt = performance.now()
    const stopped = server.stop(signal)
    const ends = await Promise.allSettled(inserts)
    expect(await stopped).toMatchObject({ code: 0, signal: null })
    // Connections that are kept alive do not hold it until the grace for stuck clients is over.
    expect(performance.now() - signalledAt).toBeLessThan(8000)
    const kept = ends.flatMap((end) =>
      end.status === 'fulfilled' && end.value.status === 201 ? [end.value.body.id] : [],
    )
    expect(kept.length).toBeGreaterThan(0)
    // Checkpointed and closed: nothing is left to be recovered.
    expect(Object.keys(snapshot(home.dataDir))).toEqual([
      'demo.sqlite3',
      'demo.sqlite3.nimbus-enc',
      'nimbus-control.db',
      'nimbus-control.db.nimbus-enc',
    ])
    const again = await startServer(home)
    for (const id of kept) expect((await again.request('GET', `${notes}/t/${id}`)).status).toBe(200)
  })

  it('by a second signal ends at once, as interrupted', async () => {
    const home = newHome()
    const server = await startServer(home)
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    // A request whose body never comes keeps the server waiting.
    socket.write(
      `POST /api/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${server.token()}\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n`,
    )
    await server.request('GET', '/api/tenants')
    server.process.kill('SIGTERM')
    await expect.poll(server.stderr).toContain('"stopping"')
    expect(await server.stop('SIGTERM')).toMatchObject({ code: 143, signal: null })
    socket.destroy()
  })
})

describe('a start that cannot be', () => {
  const lines = /^nimbus: .+\nhint: .+\n$/

  it('because another server has the directory names that server', async () => {
    const home = newHome()
    const server = await startServer(home)
    const { code, stderr } = await failToStart(home.env)
    expect(code).toBe(6)
    expect(stderr).toMatch(lines)
    expect(stderr).toContain(String(server.process.pid))
    expect((await server.request('GET', '/api/tenants')).status).toBe(200)
  })

  it('because the port is taken', async () => {
    const server = await startServer(newHome())
    const { code, stderr } = await runNimbus(['start', '--port', new URL(server.url).port], newHome().env)
    expect(code).toBe(2)
    expect(stderr).toMatch(lines)
    expect(stderr).toContain('another process listens there')
  })

  it('because the data directory is a file', async () => {
    const home = newHome()
    writeFileSync(home.dataDir, '')
    const { code, stderr } = await failToStart(home.env)
    expect(code).toBe(2)
    expect(stderr).toMatch(lines)
    expect(stderr).toContain(home.dataDir)
  })

  it('because the data directory cannot be made', async () => {
    const home = newHome()
    const { code, stderr } = await failToStart({ ...home.env, NIMBUS_DATA_DIR: '/proc/nimbus' })
    expect(code).toBe(2)
    expect(stderr).toMatch(lines)
    expect(stderr).toContain('/proc/nimbus')
  })

  it('because the token file is malformed', async () => {
    const home = newHome()
    mkdirSync(path.dirname(home.tokenFile))
    for (const content of [
      '',
      '{}',
      '{"token":7}',
      '{"token":"short"}',
      'nimbus_secret_that_is_long_enough_to_be_one',
    ]) {
      writeFileSync(home.tokenFile, content)
      const { code, stderr } = await failToStart(home.env)
      expect(code).toBe(2)
      expect(stderr).toMatch(lines)
      expect(stderr).toContain(home.tokenFile)
      expect(stderr).not.toContain('nimbus_secret')
    }
  })

  it('says so as an error object with --format json', async () => {
    const { code, stderr, stdout } = await failToStart(newHome().env, ['--format', 'json', '--port', 'x'])
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'usage', request_id: null, retryable: false } })
  })
})

describe('a full disk', () => {
  /** A file system of 1 MiB that only the server sees. */
  const onTinyDisk = (dataDir: string, before = ':'): string[] => {
    const script = `mount -t tmpfs -o size=1m,mode=0700 tmpfs "${dataDir}" && ${before} && exec "$@"`
    return ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']
  }

  it('fails a write with a code of its own, keeps what was acknowledged, and serves reads', async () => {
    const home = newHome()
    mkdirSync(home.dataDir, { mode: 0o700 })
    const server = await startServer(home, [], home.env, onTinyDisk(home.dataDir))
    await server.request('POST', '/api/tenants', { id: 'demo' })
    const acknowledged: string[] = []
    for (;;) {
      const answer = await server.request('POST', notes, { table: 't', fields: { text: 'x'.repeat(20_000) } })
      if (answer.status === 201) acknowledged.push(answer.body.id)
      else {
        expect(answer.status).toBe(507)
        expect(answer.body.error).toMatchObject({ code: 'disk_full', retryable: true })
        break
      }
    }
    expect(acknowledged.length).toBeGreaterThan(5)
    for (const id of acknowledged) expect((await server.request('GET', `${notes}/t/${id}`)).status).toBe(200)
  })

  it('fails a start with one line and a hint', async () => {
    const home = newHome()
    mkdirSync(home.dataDir, { mode: 0o700 })
    const fill = `head -c 2000000 /dev/zero > "${home.dataDir}/ballast" 2>/dev/null || true`
    const run = spawnNimbus(['start', '--port', '0'], home.env, onTinyDisk(home.dataDir, `(${fill})`))
    const { code, stderr } = await run.finished
    expect(stderr).toMatch(/^nimbus: .+\nhint: .+\n$/)
    expect(code).toBe(1)
  })
})

describe('secrets', () => {
  it('are in no output, whatever is asked of the server', async () => {
    const home = newHome()
    const server = await startServer(home)
    const token = server.token()
    await server.request('POST', '/api/tenants', { id: 'demo' })
    await server.request('POST', notes, { table: 'marker', fields: { marker: 'marker' } })
    await server.request('POST', notes, '{"marker"')
    await server.request('POST', '/api/tenants/demo/query', {
      table: 'marker',
      filters: [{ field: 'marker', op: 'eq', value: 'marker' }],
    })
    await server.request('GET', `${notes}/marker?after=marker`)
    await server.request('GET', `${notes}/marker/marker`)
    await server.request('GET', '/metrics')
    await server.request('GET', '/', undefined, { authorization: `Bearer ${token}marker` })
    const { stdout, stderr } = await server.stop()
    const key = (await import('node:fs')).readFileSync(home.keyFile)
    const output = stdout + stderr
    expect(output).toContain('"request"')
    for (const secret of ['marker', token, key.toString('hex'), key.toString('base64'), key.toString('latin1')]) {
      expect(output).not.toContain(secret)
    }
  })
})

describe('the admin token', () => {
  it('is made once, and rotated without a restart', async () => {
    const home = newHome()
    const server = await startServer(home)
    const old = readToken(home.tokenFile)
    const rotated = await runNimbus(['token', 'rotate', '--format', 'json'], home.env)
    expect(JSON.parse(rotated.stdout)).toEqual({
      command: 'token rotate',
      results: [{ path: home.tokenFile, outcome: 'rotated' }],
    })
    const current = readToken(home.tokenFile)
    expect(current).not.toBe(old)
    expect(rotated.stdout + rotated.stderr).not.toContain(current)

    const as = (token: string) => server.request('GET', '/api/tenants', undefined, { authorization: `Bearer ${token}` })
    expect((await as(current)).status).toBe(200)
    expect((await as(old)).status).toBe(401)
    expect((statSync(home.tokenFile).mode & 0o777).toString(8)).toBe('600')
  })

  it('stays good while its file is gone or broken', async () => {
    const home = newHome()
    const server = await startServer(home)
    const token = readToken(home.tokenFile)
    const request = () => server.request('GET', '/api/tenants', undefined, { authorization: `Bearer ${token}` })
    writeFileSync(home.tokenFile, 'broken')
    expect((await request()).status).toBe(200)
    rmSync(home.tokenFile)
    expect((await server.request('GET', '/', undefined, { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await request()).status).toBe(200)
  })
})
