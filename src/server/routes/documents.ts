/** Routes for single documents, and for a table's documents in order of insertion. */
import type { TenantProvider } from '../../tenants/contract.js'
import { answer, answerNothing } from '../answer.js'
import type { App } from '../app-types.js'
import { documentJson, documentPageJson } from '../document-json.js'
import {
  Document,
  DocumentPage,
  DocumentPatch,
  DocumentPath,
  NewDocument,
  NoQuery,
  PageQuery,
  TablePath,
  TenantPath,
} from '../schemas.js'
import type { Turns } from '../turns.js'

/** What is at hand is not waited for: a turn of the microtask queue costs as much as the read. */
function then<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

const ONE = '/api/tenants/:tenant/documents/:table/:id'

export function addDocumentRoutes(app: App, tenants: TenantProvider, turns: Turns): void {
  app.post(
    '/api/tenants/:tenant/documents',
    {
      schema: { params: TenantPath, querystring: NoQuery, body: NewDocument },
      config: { description: { summary: 'Inserts a document.', access: 'write', answers: { 201: Document } } },
    },
    async (request, reply) => {
      const store = await tenants.open(request.params.tenant)
      const { table, fields } = request.body
      return answer(reply, 201, documentJson(await store.insert(table, fields)))
    },
  )

  app.get(
    ONE,
    {
      schema: { params: DocumentPath, querystring: NoQuery },
      config: { description: { summary: 'Reads a document.', access: 'read', answers: { 200: Document } } },
    },
    (request, reply) => {
      const { tenant, table, id } = request.params
      const found = then(tenants.open(tenant), (store) => store.get(table, id))
      return then(found, (document) => answer(reply, 200, documentJson(document)))
    },
  )

  app.patch(
    ONE,
    {
      schema: { params: DocumentPath, querystring: NoQuery, body: DocumentPatch },
      config: {
        description: {
          summary: 'Merges fields into a document (RFC 7396).',
          access: 'write',
          answers: { 200: Document },
        },
      },
    },
    async (request, reply) => {
      const { tenant, table, id } = request.params
      const { fields, if_version: ifVersion } = request.body
      const store = await tenants.open(tenant)
      return answer(reply, 200, documentJson(await store.patch(table, id, fields, ifVersion)))
    },
  )

  app.delete(
    ONE,
    {
      schema: { params: DocumentPath, querystring: NoQuery },
      config: { description: { summary: 'Deletes a document.', access: 'write', answers: { 204: null } } },
    },
    async (request, reply) => {
      const { tenant, table, id } = request.params
      const store = await tenants.open(tenant)
      await store.delete(table, id)
      return answerNothing(reply)
    },
  )

  app.get(
    '/api/tenants/:tenant/documents/:table',
    {
      schema: { params: TablePath, querystring: PageQuery },
      config: {
        description: {
          summary: 'Lists the documents of a table in order of insertion.',
          access: 'read',
          answers: { 200: DocumentPage },
        },
      },
    },
    async (request, reply) => {
      const { tenant, table } = request.params
      const store = await tenants.open(tenant)
      await turns.answer(reply, async () => documentPageJson(await store.list(table, request.query)))
      return reply
    },
  )
}
