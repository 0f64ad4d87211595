/** Routes that create, list and delete tenants. */
import type { TenantInfo, TenantProvider } from '../../tenants/contract.js'
import { answer, answerNothing } from '../answer.js'
import type { App } from '../app-types.js'
import { timestamp } from '../timestamp.js'
import { NewTenant, NoQuery, PageQuery, Tenant, TenantList, TenantPath } from '../schemas.js'

export function addTenantRoutes(app: App, tenants: TenantProvider): void {
  app.post(
    '/api/tenants',
    {
      schema: { body: NewTenant, querystring: NoQuery },
      config: { description: { summary: 'Creates a tenant.', answers: { 201: Tenant } } },
    },
    async (request, reply) => answer(reply, 201, tenantJson(await tenants.create(request.body.id))),
  )

  app.get(
    '/api/tenants',
    {
      schema: { querystring: PageQuery },
      config: { description: { summary: 'Lists the tenants in order of id.', answers: { 200: TenantList } } },
    },
    async (request, reply) => {
      const { tenants: page, nextCursor } = await tenants.list(request.query)
      const list = `{"data":[${page.map(tenantJson).join(',')}],"next_cursor":${JSON.stringify(nextCursor)},`
      return answer(reply, 200, `${list}"has_more":${nextCursor !== null}}`)
    },
  )

  app.delete(
    '/api/tenants/:tenant',
    {
      schema: { params: TenantPath, querystring: NoQuery },
      config: { description: { summary: 'Deletes a tenant with all its documents.', answers: { 204: null } } },
    },
    async (request, reply) => {
      await tenants.delete(request.params.tenant)
      return answerNothing(reply)
    },
  )
}

function tenantJson({ id, provider, encrypted, createdAt }: TenantInfo): string {
  return JSON.stringify({ id, provider, encrypted, created_at: timestamp(createdAt) })
}
