import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config/settings.js'
import { runNimbus } from '../support/cli.js'

describe('help', () => {
  it('of nimbus lists the commands', async () => {
    const { code, stdout, stderr } = await runNimbus(['--help'])
    expect(code).toBe(0)
    expect(stderr).toBe('')
    for (const name of ['start', 'encryption status', 'encryption key-name', 'token rotate']) {
      expect(stdout).toContain(`nimbus ${name} `)
    }
  })

  it('of start has every setting with its names', async () => {
    const { code, stdout } = await runNimbus(['start', '--help'])
    expect(code).toBe(0)
    for (const { flag, variable, key } of SETTINGS) {
      for (const name of [flag, variable, key]) if (name !== null) expect(stdout).toContain(name)
    }
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
  })

  it.each([
    ['encryption'],
    ['encryption', 'status'],
    ['encryption', 'key-name'],
    ['encryption', 'migrate'],
    ['encryption', 'export'],
    ['token', 'rotate'],
  ])('of %s %s is there', async (...words) => {
    const { code, stdout } = await runNimbus([...words, '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain(words.join(' '))
  })
})

describe('the version', () => {
  it('is that of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(await runNimbus(['--version'])).toMatchObject({ code: 0, stdout: `nimbus ${version}\n` })
  })
})

describe('words that nimbus does not understand', () => {
  it.each([
    [[], 'no command is given', 'nimbus --help'],
    [['strat'], 'there is no command "strat"', 'nimbus start'],
    [['migrate'], 'there is no command "migrate"', 'nimbus --help'],
    [['encryption'], '`nimbus encryption` needs a command', 'nimbus encryption --help'],
    [['encryption', 'sttaus'], 'there is no command "encryption sttaus"', 'nimbus encryption status'],
    [['token', 'rotate', '--force'], 'has no option "--force"', 'nimbus token rotate --help'],
    [['start', '--format', 'xml'], '--format must be human or json', 'nimbus --help'],
    [['start', '--data-dri', 'x'], 'has no option "--data-dri"', '--data-dir'],
  ])('%j are a usage error with a hint', async (words, what, hint) => {
    const { code, stdout, stderr } = await runNimbus(words)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    const [first = '', second = '', ...rest] = stderr.split('\n')
    expect(first).toContain(`nimbus: `)
    expect(first).toContain(what)
    expect(second).toMatch(/^hint: /)
    expect(second).toContain(hint)
    expect(rest).toEqual([''])
  })
})

describe('nimbus encryption key-name', () => {
  const keyName = (...args: string[]) => runNimbus(['encryption', 'key-name', ...args])

  it('prints the name that the documentation gives for its example', async () => {
    const { code, stdout } = await keyName('--provider', 'sqlite', '--tenant-id', 'demo')
    expect(code).toBe(0)
    expect(stdout).toBe('64623a73716c6974653a74656e616e743a64656d6f3a64656d6f2e73716c69746533.key\n')
  })

  it.each([
    [['--provider', 'redb', '--tenant-id', 'demo'], 'db:redb:tenant:demo:demo.redb'],
    [['--provider', 'redb'], 'db:redb:control:nimbus-control.db'],
    [['--provider', 'libsql-cache', '--tenant-id', 'demo'], 'db:libsql:cache:demo:demo.sqlite3'],
  ])('knows the descriptor of %j', async (args, descriptor) => {
    const { stdout } = await keyName(...args, '--format', 'json')
    const key_name = `${Buffer.from(descriptor).toString('hex')}.key`
    expect(JSON.parse(stdout)).toEqual({ descriptor, key_name })
  })

  it.each([
    [['--tenant-id', 'demo'], '--provider must be one of'],
    [['--provider', 'mysql', '--tenant-id', 'demo'], '--provider must be one of'],
    [['--provider', 'sqlite'], 'needs --tenant-id'],
    [['--provider', 'sqlite', '--tenant-id', '../demo'], 'is not a tenant id'],
  ])('refuses %j', async (args, message) => {
    const { code, stderr } = await keyName(...args)
    expect(code).toBe(2)
    expect(stderr).toContain(message)
  })
})
