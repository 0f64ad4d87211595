import { createHash } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ControlPlane } from '../../src/control/control-plane.js'
import type { ControlFile } from '../../src/control/store.js'
import { KvStore } from '../../src/native.js'
import { temporaryDirectory } from '../support/directory.js'
import { openControlPlane } from './open.js'

/** A control plane whose commits are held back until they are let go, one at a time. */
async function held(directory: string): Promise<{ control: ControlPlane; letGo: () => void; waiting: () => number }> {
  const gates: (() => void)[] = []
  let isHolding = false
  const openFile = (options: Parameters<typeof KvStore.open>[0]): ControlFile => {
    const store = KvStore.open(options)
    return {
      get: (table, key) => store.get(table, key),
      snapshot: () => store.snapshot(),
      write: async (operations) => {
        if (isHolding) await new Promise<void>((resolve) => void gates.push(resolve))
        await store.write(operations)
      },
      verify: (options) => store.verify(options),
      close: () => store.close(),
      get stats() {
        return store.stats
      },
    }
  }
  const control = await openControlPlane({ directory, openFile })
  onTestFinished(() => control.close())
  return {
    control,
    waiting: () => {
      isHolding = true
      return gates.length
    },
    letGo: () => gates.shift()?.(),
  }
}

describe('tokens', () => {
  it('are kept under their SHA-256 in hex', async () => {
    const directory = temporaryDirectory()
    const control = await openControlPlane({ directory })
    const { token } = await control.tokens.create({ name: 'x', tenants: ['demo'], access: 'read' })
    await control.close()
    const raw = KvStore.open({ path: control.path, mode: 'open' })
    const key = Buffer.from(createHash('sha256').update(token).digest('hex'))
    expect(JSON.parse(Buffer.from(raw.get('tokens', key) ?? []).toString())).toMatchObject({ name: 'x' })
    await raw.close()
  })

  it('that are revoked while a tenant of theirs is being deleted stay revoked, in memory and in the file', async () => {
    const directory = temporaryDirectory()
    const { control, letGo, waiting } = await held(directory)
    const tenants = control.tenantsOf('sqlite', String)
    const { token, record } = await control.tokens.create({ name: 'x', tenants: ['a', 'b'], access: 'write' })
    expect(waiting()).toBe(0)
    const changes = [control.tokens.revoke(record.id), tenants.forget('a', 'tenant_deleted')]
    for (const change of changes) {
      await expect.poll(waiting).toBe(1)
      letGo()
      await change
    }
    expect(control.tokens.grantOf(token)).toBeUndefined()
    expect(control.tokens.all()).toMatchObject([{ tenants: ['a', 'b'], revoked_at: expect.any(String) }])
    await control.close()
    const again = await openControlPlane({ directory })
    onTestFinished(() => again.close())
    expect(again.tokens.grantOf(token)).toBeUndefined()
  })

  it('are good only once they are in the file, and until their revocation is', async () => {
    const directory = temporaryDirectory()
    const { control, letGo, waiting } = await held(directory)
    const { token, record } = await control.tokens.create({ name: 'x', tenants: ['a'], access: 'read' })
    expect(waiting()).toBe(0)
    const making = control.tokens.create({ name: 'y', tenants: ['a'], access: 'read' })
    await expect.poll(waiting).toBe(1)
    expect(control.tokens.all()).toHaveLength(1)
    letGo()
    await making
    const revoking = control.tokens.revoke(record.id)
    await expect.poll(waiting).toBe(1)
    expect(control.tokens.grantOf(token)?.permits('read', 'a')).toBe(true)
    letGo()
    await revoking
    expect(control.tokens.grantOf(token)).toBeUndefined()
  })
})
