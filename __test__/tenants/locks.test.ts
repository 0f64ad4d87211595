/** Who waits for whom: documents in turn, schemas alone, and nobody for ever. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyedLocks, Signal, TableGates } from '../../src/tenants/locks.js'

const turns = async (count: number) => {
  for (let n = 0; n < count; n++) await Promise.resolve()
}

describe('keyed locks', () => {
  it('let no two in that share a key, let all in that share none, and keep the order of arrival', async () => {
    const jobs = fc.array(
      fc.record({ keys: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 }), length: fc.nat(5) }),
      { maxLength: 30 },
    )
    await fc.assert(
      fc.asyncProperty(jobs, async (list) => {
        const locks = new KeyedLocks()
        const inside = new Set<string>()
        const began: Record<string, number[]> = { a: [], b: [], c: [], d: [] }
        const runs = list.map(({ keys, length }, n) =>
          locks.run(keys, async () => {
            for (const key of keys) {
              expect(inside.has(key)).toBe(false)
              inside.add(key)
              began[key]?.push(n)
            }
            await turns(length)
            for (const key of keys) inside.delete(key)
          }),
        )
        await Promise.all(runs)
        for (const order of Object.values(began)) expect(order).toEqual(order.toSorted((a, b) => a - b))
      }),
    )
  })

  it('go on after work that failed', async () => {
    const locks = new KeyedLocks()
    const failed = locks.run(['a'], async () => {
      await turns(1)
      throw new Error('no')
    })
    const next = locks.run(['a'], async () => 'done')
    await expect(failed).rejects.toThrow('no')
    expect(await next).toBe('done')
  })
})

describe('table gates', () => {
  it('let writers in together, and whoever shuts one in alone, after those inside and before those who come', async () => {
    const gates = new TableGates()
    const log: string[] = []
    const leave = new Signal()
    const inside = [1, 2].map((n) =>
      gates.shared(['a', 'b'], async () => {
        log.push(`in ${n}`)
        await leave.fired
        log.push(`out ${n}`)
      }),
    )
    const alone = gates.exclusive('a', async () => {
      log.push('alone')
      await turns(5)
      log.push('alone no more')
    })
    const late = gates.shared(['a'], async () => log.push('late'))
    const elsewhere = gates.shared(['b'], async () => log.push('elsewhere'))
    await elsewhere
    leave.fire()
    await Promise.all([...inside, alone, late])
    expect(log).toEqual(['in 1', 'in 2', 'elsewhere', 'out 1', 'out 2', 'alone', 'alone no more', 'late'])
  })

  it('never let writers in with whoever is alone, under any order of arrival', async () => {
    const jobs = fc.array(
      fc.record({ alone: fc.boolean(), table: fc.constantFrom('a', 'b'), both: fc.boolean(), length: fc.nat(4) }),
      { maxLength: 40 },
    )
    await fc.assert(
      fc.asyncProperty(jobs, async (list) => {
        const gates = new TableGates()
        const writers: Record<string, number> = { a: 0, b: 0 }
        const owner: Record<string, boolean> = { a: false, b: false }
        const enter = (table: string, by: number) => (writers[table] = (writers[table] ?? 0) + by)
        const runs = list.map(({ alone, table, both, length }) => {
          if (alone) {
            return gates.exclusive(table, async () => {
              expect([writers[table], owner[table]]).toEqual([0, false])
              owner[table] = true
              await turns(length)
              expect(writers[table]).toBe(0)
              owner[table] = false
            })
          }
          const tables = both ? ['a', 'b'] : [table]
          return gates.shared(tables, async () => {
            for (const name of tables) expect(owner[name]).toBe(false)
            for (const name of tables) enter(name, 1)
            await turns(length)
            for (const name of tables) enter(name, -1)
          })
        })
        await Promise.all(runs)
      }),
    )
  })

  it('open again after work that failed', async () => {
    const gates = new TableGates()
    await expect(gates.exclusive('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    await expect(gates.shared(['a'], () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await gates.exclusive('a', async () => 'done')).toBe('done')
  })
})
