/** Routes over the control plane: API tokens, and what happened to files, tenants and tokens. */
import type { ControlEvent } from '../../control/events.js'
import type { ApiToken, NewToken as Wanted } from '../../control/tokens.js'
import { decodeCursor, encodeCursor, invalidCursor } from '../../tenants/cursor.js'
import { answer, answerNothing } from '../answer.js'
import type { App } from '../app-types.js'
import { EventList, EventQuery, MadeToken, NewToken, NoQuery, PageQuery, TokenList, TokenPath } from '../schemas.js'

/** As much of the control plane as the routes need. */
export interface ControlRecords {
  readonly tokens: {
    all(): ApiToken[]
    create(wanted: Wanted): Promise<{ readonly token: string; readonly record: ApiToken }>
    revoke(id: string): Promise<void>
  }
  readonly events: { newest(limit: number): ControlEvent[] }
}

const DEFAULT_LIMIT = 100
const LIST_SHAPE = ['tokens']

export function addControlRoutes(app: App, { tokens, events }: ControlRecords): void {
  app.post(
    '/api/tokens',
    {
      schema: { querystring: NoQuery, body: NewToken },
      config: {
        description: { summary: 'Makes an API token; the answer alone shows it.', answers: { 201: MadeToken } },
      },
    },
    async (request, reply) => {
      const { token, record } = await tokens.create(request.body)
      return answer(reply, 201, JSON.stringify({ ...record, token }))
    },
  )

  app.get(
    '/api/tokens',
    {
      schema: { querystring: PageQuery },
      config: {
        description: { summary: 'Lists the API tokens in order of creation.', answers: { 200: TokenList } },
      },
    },
    (request, reply) => {
      const { limit = DEFAULT_LIMIT, after } = request.query
      const rest = after === undefined ? tokens.all() : tokens.all().slice(positionAfter(tokens.all(), after))
      const data = rest.slice(0, limit)
      const hasMore = rest.length > data.length
      const last = data.at(-1)
      const nextCursor = hasMore && last !== undefined ? encodeCursor(LIST_SHAPE, [last.created_at, last.id]) : null
      return answer(reply, 200, JSON.stringify({ data, next_cursor: nextCursor, has_more: hasMore }))
    },
  )

  app.delete(
    '/api/tokens/:id',
    {
      schema: { params: TokenPath, querystring: NoQuery },
      config: { description: { summary: 'Revokes an API token, from now on.', answers: { 204: null } } },
    },
    async (request, reply) => {
      await tokens.revoke(request.params.id)
      return answerNothing(reply)
    },
  )

  app.get(
    '/debug/encryption/events',
    {
      schema: { querystring: EventQuery },
      config: {
        description: {
          summary: 'What happened to files, tenants and tokens, the newest first.',
          answers: { 200: EventList },
        },
      },
    },
    (request, reply) =>
      answer(reply, 200, JSON.stringify({ data: events.newest(request.query.limit ?? DEFAULT_LIMIT) })),
  )
}

/** How many tokens come before the rest, though the one at the cursor may be gone. */
function positionAfter(all: readonly ApiToken[], after: string): number {
  const position = decodeCursor(LIST_SHAPE, after)
  if (!Array.isArray(position)) throw invalidCursor()
  const [createdAt, id] = position
  if (typeof createdAt !== 'string' || typeof id !== 'string') throw invalidCursor()
  const isLater = (token: ApiToken) => token.created_at > createdAt || (token.created_at === createdAt && token.id > id)
  const next = all.findIndex(isLater)
  return next === -1 ? all.length : next
}
