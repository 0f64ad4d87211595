/** The tables of one open tenant, in memory as they are in its file: nobody else writes to it while it is open. */
import { NimbusError } from '../../errors.js'
import { type SqliteStore, StatementError, type Step } from '../../native.js'
import { type JsonValue, isJsonObject, parseJson } from '../json.js'
import { requireRoom } from '../open-tenant.js'
import { decodeSchema } from '../schema.js'
import type { SchemaChange } from './schema-change.js'
import { type DocumentTable, createDocsSql } from './table.js'

export class Catalog {
  readonly #store: SqliteStore
  readonly #tables: Map<string, DocumentTable>
  readonly #making = new Map<string, Promise<DocumentTable>>()

  #lastId: number
  #isDoubtful = false

  private constructor(store: SqliteStore, tables: Map<string, DocumentTable>) {
    this.#store = store
    this.#tables = tables
    this.#lastId = Math.max(0, ...Array.from(tables.values(), (table) => table.id))
  }

  static load(store: SqliteStore, path: string): Catalog {
    const sql = `SELECT json_group_array(json_object('id', id, 'name', name, 'schema', json(schema), 'keys', json(keys),
      'indexes', json(indexes))) FROM nimbus_tables`
    const rows = parseJson(String(store.get(sql, [])?.[0]))
    const tables = Array.isArray(rows) ? rows.map((row) => decodeTable(row, path)) : []
    return new Catalog(store, new Map(tables.map((table) => [table.name, table])))
  }

  /** After a failure of the disk the file may hold a change that is missing here: the tenant must be opened anew. */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  /** `undefined` if the table was never made. */
  find(name: string): DocumentTable | undefined {
    return this.#tables.get(name)
  }

  /** The table, made durably if it is new. @throws `invalid_request` if the tenant has too many */
  async ensure(name: string): Promise<DocumentTable> {
    const table = this.#tables.get(name)
    if (table !== undefined) return table
    let making = this.#making.get(name)
    if (making === undefined) {
      making = this.#make(name).finally(() => this.#making.delete(name))
      this.#making.set(name, making)
    }
    return making
  }

  /** Carries out a change of a table's schema that was planned on the table's present state. */
  async apply({ steps, after }: SchemaChange): Promise<void> {
    await this.#write([...steps])
    this.#tables.set(after.name, after)
  }

  async #make(name: string): Promise<DocumentTable> {
    requireRoom(this.#tables.size + this.#making.size)
    this.#lastId += 1
    const table: DocumentTable = { id: this.#lastId, name, schema: undefined, keys: new Map(), indexes: new Map() }
    await this.#write([
      { sql: createDocsSql(table) },
      {
        sql: "INSERT INTO nimbus_tables (id, name, keys, indexes) VALUES (?1, ?2, '{}', '{}')",
        params: [table.id, name],
      },
    ])
    this.#tables.set(name, table)
    return table
  }

  async #write(steps: Step[]): Promise<void> {
    try {
      await this.#store.write(steps)
    } catch (error) {
      this.#isDoubtful ||= !(error instanceof StatementError)
      throw error
    }
  }
}

function decodeTable(row: JsonValue, path: string): DocumentTable {
  if (isJsonObject(row)) {
    const { id, name, schema = null, keys, indexes } = row
    const decoded = schema === null ? undefined : decodeSchema(schema)
    const isWhole = typeof id === 'number' && typeof name === 'string' && (schema === null || decoded !== undefined)
    if (isWhole) return { id, name, schema: decoded, keys: decodeNumbers(keys), indexes: decodeNumbers(indexes) }
  }
  throw new NimbusError('file_corrupt', `the catalog of ${path} holds a table that nimbus did not write`, { path })
}

function decodeNumbers(stored: JsonValue | undefined): Map<string, number> {
  const numbers = isJsonObject(stored) ? Object.entries(stored) : []
  return new Map(numbers.map(([name, number]) => [name, Number(number)]))
}
