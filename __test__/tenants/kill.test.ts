/** Whatever was acknowledged is there after the process was killed, and whatever was half done is settled. */
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { TenantProvider } from '../../src/tenants/contract.js'
import { startChild } from '../support/child.js'
import { allDocuments, fieldsOf } from './contract/home.js'
import { type Kind, KINDS, MODES, makeFileHome } from './file-home.js'
import { checkIndexes } from './redb-checker.js'

const STORM = new URL('./child/storm.ts', import.meta.url)
const ROUNDS = 5

/** What the child said before it died, by word; each with the line's other words. */
type Said = Map<string, string[][]>

async function stormUntilKilled(args: readonly string[], afterMs: number): Promise<Said> {
  const child = startChild(STORM, args)
  let output = ''
  let errors = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const ended = new Promise((resolve) => child.on('close', resolve))
  while (!output.includes('inserted') && child.exitCode === null) await delay(5)
  await delay(afterMs)
  child.kill('SIGKILL')
  await ended
  expect(errors).toBe('')
  const said: Said = new Map()
  for (const line of output.split('\n').slice(0, -1)) {
    const [word = '', ...rest] = line.split(' ')
    said.set(word, [...(said.get(word) ?? []), rest])
  }
  return said
}

const first = (lines: string[][] | undefined): string[] => (lines ?? []).map(([id = '']) => id)

async function checkDocuments(provider: TenantProvider, said: Said): Promise<void> {
  const store = await provider.open('storm')
  const found = new Map((await allDocuments(store, 'posts')).map((document) => [document.id, document]))
  const deleting = new Set(first(said.get('deleting')))
  for (const id of first(said.get('inserted'))) {
    if (!deleting.has(id)) expect(found.get(id), `inserted ${id}`).toMatchObject({ id })
  }
  for (const [id = '', version] of said.get('patched') ?? []) {
    if (!deleting.has(id)) expect(found.get(id)?.version).toBe(Number(version))
  }
  for (const id of first(said.get('deleted'))) expect(found.has(id), `deleted ${id}`).toBe(false)
}

async function checkTenants(provider: TenantProvider, said: Said): Promise<void> {
  const tenants = new Set((await provider.list({ limit: 1000 })).tenants.map(({ id }) => id))
  const removing = new Set(first(said.get('removing')))
  const filled = new Set(first(said.get('filled')))
  for (const id of first(said.get('created'))) if (!removing.has(id)) expect(tenants).toContain(id)
  for (const id of first(said.get('removed'))) expect(tenants).not.toContain(id)
  for (const id of tenants) {
    const documents = await allDocuments(await provider.open(id), 'posts')
    if (filled.has(id)) expect(documents.map(fieldsOf)).toEqual([{ id }])
  }
}

const CASES = KINDS.flatMap((kind) => MODES.map((mode) => [kind, mode] as const))

describe.each(CASES)('tenants on %s, %s,', (kind: Kind, mode) => {
  it('are whole after a kill at any moment, with everything that was acknowledged', async () => {
    const home = await makeFileHome(kind, mode)
    const provider = await home.open()
    await provider.create('storm')
    await provider.close()
    const keyFile = mode === 'plain' ? '' : home.keyFile
    let documents = 0
    for (let round = 0; round < ROUNDS; round++) {
      const said = await stormUntilKilled([kind, home.directory, keyFile, String(round)], 40 + Math.random() * 200)
      const survivor = await home.open()
      await checkDocuments(survivor, said)
      await checkTenants(survivor, said)
      documents += first(said.get('inserted')).length
      await survivor.close()
      if (kind === 'redb') expect(await checkIndexes(home, 'storm')).toBeGreaterThan(0)
    }
    expect(documents).toBeGreaterThan(ROUNDS * 20)
  }, 120_000)
})
