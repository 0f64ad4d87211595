import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite'
import { Keyv } from 'keyv'
import * as vitest from 'vitest'
import { KeyvNimbus } from '../../src/kv/keyv.js'
import { Store } from '../../src/kv/store.js'
import { randomBytes } from '../../src/native.js'

const { afterAll, beforeAll, describe, expect, it } = vitest

const directory = mkdtempSync(path.join(tmpdir(), 'nimbus-keyv-'))
afterAll(() => rmSync(directory, { recursive: true }))

describe.each(['plain', 'sealed'])('KeyvNimbus on a %s file', (form) => {
  const key = form === 'sealed' ? randomBytes(32) : undefined
  let shared: Store | undefined
  beforeAll(async () => {
    shared = await Store.open({ path: path.join(directory, `${form}.redb`), key })
  })
  afterAll(() => shared?.close())
  // Each with a namespace of its own, over the same data.
  const adapter = () => shared && new KeyvNimbus({ store: shared })

  keyvTestSuite(vitest, Keyv, adapter)
  keyvIteratorTests(vitest, Keyv, adapter)

  it('keeps what it was given when it is opened again, and forgets what has expired', async () => {
    const store = new KeyvNimbus({ path: path.join(directory, `${form}-again.redb`), key })
    const keyv = new Keyv({ store })
    await keyv.set('kept', { a: 1 })
    await keyv.set('short', 'gone', 5)
    await store.disconnect()
    await vitest.vi.waitFor(async () => expect(await store.has('keyv:short')).toBe(false))
    expect(await keyv.get('kept')).toEqual({ a: 1 })
    expect(await keyv.get('short')).toBeUndefined()
    const entries: unknown[] = []
    for await (const entry of store.iterator()) entries.push(entry[0])
    expect(entries).toEqual(['keyv:kept'])
    await store.disconnect()
  })
})
