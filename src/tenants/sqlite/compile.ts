/** Selections as SQL that finds its rows, and its order, in an index wherever there is one. */
import type { SqlParameter } from '../../native.js'
import { parseDocumentId } from '../ids.js'
import type { CheckedFilter, CheckedSelection } from '../query.js'
import { type Position, sortKeyOf } from '../sort-key.js'
import { FIRST_BLOB, FIRST_STRING, jsonPathOf, keyOfField, keyOfValue } from './keys.js'
import { Parameters } from './parameters.js'
import { type DocumentTable, keyColumn, selectSql } from './table.js'

export interface Read {
  readonly sql: string
  readonly params: readonly SqlParameter[]
}

/**
 * The first `limit` of the selection's documents after a position, as one statement: it sees one state of the table, so no
 * document comes twice or not at all because it moved meanwhile.
 *
 * In the order of a field there are two parts: the rest of the documents that tie with the position, which an index finds by
 * equality and rowid, then those beyond; UNION ALL runs one to its end before the other. As one condition, `(key, seq) > (?, ?)`,
 * SQLite would walk through all the ties from the first on: it does not use the rowid at the end of an index for a range.
 */
export function compile(
  table: DocumentTable,
  selection: CheckedSelection,
  after: Position | undefined,
  limit: number,
): Read {
  const parameters = new Parameters()
  const atMost = `LIMIT ${parameters.add(limit)}`
  const filters = selection.filters.map((filter) => compileFilter(table, filter, parameters))
  const selects = partsOf(table, selection, after).map(({ where, orderBy }) => {
    const conditions = [...filters, ...where(parameters)]
    const order = orderBy(parameters)
    return `${selectSql(table, conditions.length === 0 ? 'TRUE' : conditions.join(' AND '), order)} ${atMost}`
  })
  const [only = ''] = selects
  const sql =
    selects.length === 1
      ? only
      : `${selects.map((select) => `SELECT * FROM (${select})`).join(' UNION ALL ')} ${atMost}`
  return { sql, params: parameters.values }
}

/** One part of a read, but for the filters: what its documents satisfy besides, and in which order they come. */
interface Part {
  readonly where: (parameters: Parameters) => string[]
  readonly orderBy: (parameters: Parameters) => string
}

function partsOf(table: DocumentTable, selection: CheckedSelection, after: Position | undefined): Part[] {
  const { orderBy: path, descending } = selection
  const beyond = descending ? '<' : '>'
  const direction = descending ? 'DESC' : 'ASC'
  const bySeq = () => `seq ${direction}`
  const afterSeq = (parameters: Parameters, { id }: Position) => `seq ${beyond} ${seqOf(id, parameters)}`

  if (path === undefined) {
    return [{ where: (parameters) => (after === undefined ? [] : [afterSeq(parameters, after)]), orderBy: bySeq }]
  }
  const field = (parameters: Parameters) => fieldKey(table, path, parameters)
  const byField = (parameters: Parameters) => `${field(parameters)} ${direction}, seq ${direction}`
  const key = after?.key
  if (after === undefined || key === undefined) return [{ where: () => [], orderBy: byField }]
  const compare = (parameters: Parameters, operator: string) =>
    `${field(parameters)} ${operator} ${keyOfValue(key, parameters)}`
  return [
    { where: (parameters) => [compare(parameters, '='), afterSeq(parameters, after)], orderBy: bySeq },
    { where: (parameters) => [compare(parameters, beyond)], orderBy: byField },
  ]
}

const OPERATORS = { eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=' } as const

function compileFilter(table: DocumentTable, { path, op, value }: CheckedFilter, parameters: Parameters): string {
  const field = fieldKey(table, path, parameters)
  const comparison = `${field} ${OPERATORS[op]} ${keyOfValue(sortKeyOf(value), parameters)}`
  if (op === 'eq' || op === 'neq') return comparison
  // A range ends where its type ends: numbers are the least of all, strings lie between them and the blobs.
  const upwards = op === 'gt' || op === 'gte'
  if (typeof value === 'number') return upwards ? `${comparison} AND ${field} < ${FIRST_STRING}` : comparison
  return upwards ? `${comparison} AND ${field} < ${FIRST_BLOB}` : `${comparison} AND ${field} >= ${FIRST_STRING}`
}

/** The indexed column of a field, or the expression that such a column would hold. */
function fieldKey(table: DocumentTable, path: string, parameters: Parameters): string {
  const number = table.keys.get(path)
  return number === undefined ? keyOfField(parameters.add(jsonPathOf(path))) : keyColumn(number)
}

function seqOf(id: string, parameters: Parameters): string {
  const parsed = parseDocumentId(id)
  if (parsed === undefined) throw new TypeError('a position has an id that is none')
  return `((${parameters.add(parsed.ms)} << 12) | ${parameters.add(parsed.counter)})`
}
