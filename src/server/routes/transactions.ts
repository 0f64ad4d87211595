/** The route that runs several writes, all of them or none. */
import type { Static } from 'typebox'
import { NimbusError } from '../../errors.js'
import type { Operation, OperationResult, TenantProvider } from '../../tenants/contract.js'
import { answer } from '../answer.js'
import type { App } from '../app-types.js'
import { documentJson } from '../document-json.js'
import { NoQuery, TenantPath, Transaction, TransactionResults, type Operation as Requested } from '../schemas.js'

export function addTransactionRoutes(app: App, tenants: TenantProvider): void {
  app.post(
    '/api/tenants/:tenant/transaction',
    {
      schema: { params: TenantPath, querystring: NoQuery, body: Transaction },
      config: {
        description: {
          summary: 'Runs operations in their order, all or none.',
          access: 'write',
          answers: { 200: TransactionResults },
        },
      },
    },
    async (request, reply) => {
      const operations = request.body.operations.map(toOperation)
      const store = await tenants.open(request.params.tenant)
      const results = await store.transact(operations)
      return answer(reply, 200, `{"results":[${results.map(resultJson).join(',')}]}`)
    },
  )
}

/** Each kind of operation has members of its own; one flat schema says it less precisely than these messages. */
function toOperation(requested: Static<typeof Requested>, index: number): Operation {
  const { op, table, id, fields, if_version: ifVersion } = requested
  if (op === 'insert') {
    if (id !== undefined) throw invalid(index, 'id', 'must not be given: the server makes the id')
    if (ifVersion !== undefined) throw invalid(index, 'if_version', 'must not be given for an insert')
    if (fields === undefined) throw invalid(index, 'fields', 'is missing')
    return { op, table, fields }
  }
  if (id === undefined) throw invalid(index, 'id', 'is missing')
  if (op === 'delete') {
    if (fields !== undefined) throw invalid(index, 'fields', 'must not be given for a delete')
    return { op, table, id, ifVersion }
  }
  if (fields === undefined) throw invalid(index, 'fields', 'is missing')
  return { op, table, id, fields, ifVersion }
}

function invalid(index: number, member: string, rule: string): NimbusError {
  const path = `operations.${index}.${member}`
  return new NimbusError('invalid_request', `body.${path} ${rule}`, { path })
}

function resultJson(result: OperationResult): string {
  if (result.op === 'delete') return JSON.stringify(result)
  return `{"op":"${result.op}","document":${documentJson(result.document)}}`
}
