/** The pool of open tenants: opened once, shared, never closed under anybody, never more than allowed. */
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Signal } from '../../src/tenants/locks.js'
import { Pool, type PoolOptions } from '../../src/tenants/files/pool.js'
import { rejectionOf } from '../support/failure.js'

interface Thing {
  readonly id: string
  isOpen: boolean
  isSpent: boolean
}

function makePool(options: Partial<PoolOptions<Thing>> = {}) {
  const log: string[] = []
  let open = 0
  const most = { open: 0 }
  const pool = new Pool<Thing>({
    async open(id) {
      log.push(`open ${id}`)
      open += 1
      most.open = Math.max(most.open, open)
      await delay(1)
      return { id, isOpen: true, isSpent: false }
    },
    async close(thing) {
      thing.isOpen = false
      await delay(1)
      log.push(`close ${thing.id}`)
      open -= 1
    },
    isSpent: (thing) => thing.isSpent,
    maxOpen: 3,
    idleMs: 60_000,
    ...options,
  })
  onTestFinished(() => pool.close())
  return { pool, log, most }
}

describe('a pool', () => {
  it('opens once for all who come at the same time, and again only after closing', async () => {
    const { pool, log } = makePool()
    const used = await Promise.all(Array.from({ length: 10 }, () => pool.use('a', async (thing) => thing)))
    expect(new Set(used).size).toBe(1)
    await pool.evict('a')
    await pool.use('a', async () => undefined)
    expect(log).toEqual(['open a', 'close a', 'open a'])
  })

  it('closes the one that was not used for longest when another is wanted', async () => {
    const { pool, log } = makePool()
    for (const id of ['a', 'b', 'c', 'a']) await pool.use(id, async () => delay(2))
    await pool.use('d', async () => undefined)
    expect(log).toEqual(['open a', 'open b', 'open c', 'close b', 'open d'])
    expect(pool.peek('c')).toMatchObject({ id: 'c' })
    await pool.use('e', async () => undefined)
    expect(log.slice(5)).toEqual(['close a', 'open e'])
  })

  it('never has more open than allowed, nor closes what is in use, under any load', async () => {
    const { pool, most } = makePool()
    const uses = Array.from({ length: 300 }, (_, n) =>
      pool.use(`t${(n * 7) % 11}`, async (thing) => {
        await delay(n % 3)
        expect(thing).toMatchObject({ id: `t${(n * 7) % 11}`, isOpen: true })
      }),
    )
    await Promise.all(uses)
    expect(most.open).toBe(3)
    expect(pool.size).toBeLessThanOrEqual(3)
  })

  it('waits while all are in use, and goes on when one is let go', async () => {
    const { pool, log } = makePool({ maxOpen: 1 })
    const letGo = new Signal()
    const first = pool.use('a', () => letGo.fired)
    const second = pool.use('b', async () => log.push('used b'))
    await delay(10)
    expect(log).toEqual(['open a'])
    letGo.fire()
    await Promise.all([first, second])
    expect(log).toEqual(['open a', 'close a', 'open b', 'used b'])
  })

  it('closes what was idle for a while, and not what is in use', async () => {
    const { pool, log } = makePool({ idleMs: 50 })
    const letGo = new Signal()
    const busy = pool.use('busy', () => letGo.fired)
    await pool.use('idle', async () => undefined)
    while (!log.includes('close idle')) await delay(5)
    expect(log).toEqual(['open busy', 'open idle', 'close idle'])
    letGo.fire()
    await busy
    while (pool.size > 0) await delay(5)
    expect(log.at(-1)).toBe('close busy')
  })

  it('tells everybody who waited that opening failed, and tries again for the next', async () => {
    let attempts = 0
    const { pool } = makePool({
      async open(id) {
        attempts += 1
        await delay(1)
        if (attempts === 1) throw new Error('no')
        return { id, isOpen: true, isSpent: false }
      },
    })
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => pool.use('a', async () => undefined)))
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(pool.size).toBe(0)
    expect(await pool.use('a', async ({ id }) => id)).toBe('a')
    expect(attempts).toBe(2)
  })

  it('does not shut out others when opening one fails while it is full', async () => {
    const { pool } = makePool({
      maxOpen: 1,
      async open(id) {
        await delay(5)
        if (id === 'bad') throw new Error('no')
        return { id, isOpen: true, isSpent: false }
      },
    })
    const bad = pool.use('bad', async () => undefined)
    const good = pool.use('good', async ({ id }) => id)
    await expect(bad).rejects.toThrow('no')
    expect(await good).toBe('good')
  })

  it('lets nobody use what is spent: those inside finish, the others get it opened anew', async () => {
    const { pool, log } = makePool()
    const letGo = new Signal()
    const inside = pool.use('a', async (thing) => {
      thing.isSpent = true
      await letGo.fired
      expect(thing.isOpen).toBe(true)
      log.push('left')
    })
    await delay(5)
    expect(pool.peek('a')).toBeUndefined()
    const others = [1, 2].map(() => pool.use('a', async (thing) => thing.isSpent))
    letGo.fire()
    expect(await Promise.all([inside, ...others])).toEqual([undefined, false, false])
    expect(log).toEqual(['open a', 'left', 'close a', 'open a'])
  })

  it('opens anew what was spent while nobody but a peeker used it', async () => {
    const { pool, log } = makePool()
    await pool.use('a', async () => undefined)
    const peeked = pool.peek('a') ?? expect.fail('it is open')
    peeked.isSpent = true
    expect(pool.peek('a')).toBeUndefined()
    const again = await Promise.all([1, 2].map(() => pool.use('a', async (thing) => thing)))
    expect(new Set([peeked, ...again]).size).toBe(2)
    expect(log).toEqual(['open a', 'close a', 'open a'])
  })

  it('finishes running work before it closes, and takes on no more', async () => {
    const { pool, log } = makePool()
    const work = pool.use('a', async (thing) => {
      await delay(10)
      expect(thing.isOpen).toBe(true)
      log.push('worked')
    })
    await Promise.all([pool.close(), work])
    expect(log).toEqual(['open a', 'worked', 'close a'])
    const refused = await rejectionOf(pool.use('a', async () => undefined))
    expect(refused).toMatchObject({ code: 'shutting_down' })
    expect(pool.peek('a')).toBeUndefined()
  })
})

describe('a visit', () => {
  it('closes after it what was opened for it, unless somebody has used it since', async () => {
    const { pool, log } = makePool()
    await pool.visit('a', async (thing) => {
      expect(thing.isOpen).toBe(true)
    })
    await pool.evict('a')
    expect(log).toEqual(['open a', 'close a'])
    await pool.visit('b', () => pool.use('b', async () => undefined))
    await pool.use('c', async () => undefined)
    await pool.visit('c', async () => undefined)
    expect(pool.peek('b')).toMatchObject({ id: 'b' })
    expect(pool.peek('c')).toMatchObject({ id: 'c' })
  })

  it('keeps a thing from being closed to make room, but not from being evicted or opened anew', async () => {
    const { pool, log } = makePool({ maxOpen: 2 })
    const [entered, left] = [new Signal(), new Signal()]
    const visit = pool.visit('a', async (thing) => {
      entered.fire()
      await left.fired
      return thing.isOpen
    })
    await entered.fired
    for (const id of ['b', 'c']) await pool.use(id, async () => undefined)
    expect(log).toEqual(['open a', 'open b', 'close b', 'open c'])
    const spent = await pool.use('a', async (thing) => thing)
    spent.isSpent = true
    expect(await pool.use('a', async (thing) => thing)).not.toBe(spent)
    expect(log.slice(4)).toEqual(['close a', 'open a'])
    left.fire()
    expect(await visit).toBe(false)
  })
})
