/** Routes that set, read and remove the schema of a table. */
import type { TenantProvider } from '../../tenants/contract.js'
import { answer, answerNothing } from '../answer.js'
import type { App } from '../app-types.js'
import { NoQuery, TablePath, TableSchema } from '../schemas.js'

const SCHEMA = '/api/tenants/:tenant/schema/:table'

export function addTableSchemaRoutes(app: App, tenants: TenantProvider): void {
  app.put(
    SCHEMA,
    {
      schema: { params: TablePath, querystring: NoQuery, body: TableSchema },
      config: {
        description: {
          summary: 'Sets the schema of a table; refused if one of its documents violates it.',
          access: 'write',
          answers: { 200: TableSchema },
        },
      },
    },
    async (request, reply) => {
      const store = await tenants.open(request.params.tenant)
      return answer(reply, 200, JSON.stringify(await store.putSchema(request.params.table, request.body)))
    },
  )

  app.get(
    SCHEMA,
    {
      schema: { params: TablePath, querystring: NoQuery },
      config: {
        description: { summary: 'Reads the schema of a table.', access: 'read', answers: { 200: TableSchema } },
      },
    },
    async (request, reply) => {
      const store = await tenants.open(request.params.tenant)
      return answer(reply, 200, JSON.stringify(await store.getSchema(request.params.table)))
    },
  )

  app.delete(
    SCHEMA,
    {
      schema: { params: TablePath, querystring: NoQuery },
      config: {
        description: {
          summary: 'Removes the schema of a table and its indexes; documents stay.',
          access: 'write',
          answers: { 204: null },
        },
      },
    },
    async (request, reply) => {
      const store = await tenants.open(request.params.tenant)
      await store.deleteSchema(request.params.table)
      return answerNothing(reply)
    },
  )
}
