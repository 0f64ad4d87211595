/** Where a provider under test keeps its tenants: a place that outlives any one provider object on it. */
import type { StoredDocument, TenantProvider, TenantStore } from '../../../src/tenants/contract.js'
import { type JsonObject, parseFields } from '../../../src/tenants/json.js'

/** Everything in it is gone when the test is over. */
export interface Home {
  /** A started provider, once the one before has been closed; closed when the test is over. */
  open(): Promise<TenantProvider>
}

export type MakeHome = () => Promise<Home>

/** A provider with one tenant, which is what most tests begin with. */
export async function makeStore(makeHome: MakeHome): Promise<{ provider: TenantProvider; store: TenantStore }> {
  const home = await makeHome()
  const provider = await home.open()
  await provider.create('demo')
  return { provider, store: await provider.open('demo') }
}

export function fieldsOf(document: StoredDocument): JsonObject {
  return parseFields(document.fieldsJson)
}

/** All documents of a table, by walking through its pages. */
export async function allDocuments(store: TenantStore, table: string, limit = 1000): Promise<StoredDocument[]> {
  const documents: StoredDocument[] = []
  let after: string | undefined
  for (;;) {
    const page = await store.list(table, { limit, after })
    documents.push(...page.documents)
    if (page.nextCursor === null) return documents
    after = page.nextCursor
  }
}
