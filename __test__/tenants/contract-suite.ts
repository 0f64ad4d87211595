/** What every tenant provider must do, whatever it stores documents in: one line in a test file runs all of it. */
import { describe } from 'vitest'
import { describeChanges } from './contract/changes.js'
import { describeDocuments } from './contract/documents.js'
import { describePages } from './contract/pages.js'
import { describeQueries } from './contract/queries.js'
import { describeSchemas } from './contract/schemas.js'
import { describeTenants } from './contract/tenants.js'
import { describeTransactions } from './contract/transactions.js'
import type { MakeHome } from './contract/home.js'

export function describeTenantContract(name: string, makeHome: MakeHome): void {
  describe(`tenants on ${name}`, () => {
    describeTenants(makeHome)
    describeDocuments(makeHome)
    describeChanges(makeHome)
    describePages(makeHome)
    describeQueries(makeHome)
    describeSchemas(makeHome)
    describeTransactions(makeHome)
  })
}
