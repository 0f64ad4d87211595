/** Routes that select documents by their fields. */
import type { TenantProvider } from '../../tenants/contract.js'
import type { App } from '../app-types.js'
import { documentPageJson, documentsJson } from '../document-json.js'
import { DocumentList, DocumentPage, NoQuery, PagedQuery, Query, TenantPath } from '../schemas.js'
import type { Turns } from '../turns.js'

export function addQueryRoutes(app: App, tenants: TenantProvider, turns: Turns): void {
  app.post(
    '/api/tenants/:tenant/query',
    {
      schema: { params: TenantPath, querystring: NoQuery, body: Query },
      config: {
        description: {
          summary: 'Selects the first documents that match every filter.',
          access: 'read',
          answers: { 200: DocumentList },
        },
      },
    },
    async (request, reply) => {
      const store = await tenants.open(request.params.tenant)
      await turns.answer(reply, async () => documentsJson(await store.query(request.body)))
      return reply
    },
  )

  app.post(
    '/api/tenants/:tenant/query/paginated',
    {
      schema: { params: TenantPath, querystring: NoQuery, body: PagedQuery },
      config: {
        description: {
          summary: 'Selects one page of the documents that match.',
          access: 'read',
          answers: { 200: DocumentPage },
        },
      },
    },
    async (request, reply) => {
      const { page_size: limit, after, ...selection } = request.body
      const store = await tenants.open(request.params.tenant)
      await turns.answer(reply, async () => documentPageJson(await store.queryPage(selection, { limit, after })))
      return reply
    },
  )
}
