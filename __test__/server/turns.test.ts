import fastify from 'fastify'
import { describe, expect, it } from 'vitest'
import { Turns } from '../../src/server/turns.js'

describe('large reads', () => {
  it('are made a few at a time, in the order in which they were asked for', async () => {
    const turns = new Turns(2)
    const events: string[] = []
    const finish = new Map<string, () => void>()
    const app = fastify()
    app.get<{ Params: { name: string } }>('/:name', async ({ params: { name } }, reply) => {
      await turns.answer(reply, async () => {
        events.push(`begin ${name}`)
        await new Promise<void>((resolve) => finish.set(name, resolve))
        if (name === 'bad') throw new Error('it cannot be read')
        return '"done"'
      })
      return reply
    })
    const end = async (name: string): Promise<void> => {
      await expect.poll(() => finish.has(name)).toBe(true)
      finish.get(name)?.()
    }

    const answers = ['a', 'bad', 'c', 'd'].map((name) => app.inject(`/${name}`))
    await expect.poll(() => events.length).toBe(2)
    await end('bad')
    await end('c')
    await end('a')
    await end('d')
    expect((await Promise.all(answers)).map(({ statusCode }) => statusCode)).toEqual([200, 500, 200, 200])
    expect(events).toEqual(['begin a', 'begin bad', 'begin c', 'begin d'])
    await app.close()
  })
})
