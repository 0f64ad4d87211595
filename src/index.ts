/** The public list: what `import ... from '@nimbus/storage'` gives. */
export { ERROR_CODES, NimbusError } from './errors.js'
export type { ErrorCodeInfo, ErrorDetail, ExitCode, NimbusErrorCode } from './errors.js'
export { Database } from './sqlite/database.js'
export type {
  AggregateOptions,
  DatabaseOptions,
  FunctionOptions,
  PragmaOptions,
  SerializeOptions,
} from './sqlite/database.js'
export type { BackupOptions, BackupProgress } from './sqlite/backup.js'
export { SqliteError } from './sqlite/sqlite-error.js'
export type { ColumnDefinition, RunResult, Statement } from './sqlite/statement.js'
export type { VirtualTableOptions } from './sqlite/table.js'
export type { Transaction } from './sqlite/transaction.js'
