/** The public list: what `import ... from '@nimbus/storage'` gives. */
export { ERROR_CODES, NimbusError } from './errors.js'
export type { ErrorCodeInfo, ErrorDetail, ExitCode, NimbusErrorCode } from './errors.js'
export { bytes, json, msgpack, utf8, type Encoding } from './kv/encoding.js'
export type { FileOptions } from './kv/open.js'
export { Entries, type RangeOptions } from './kv/range.js'
export { Snapshot } from './kv/snapshot.js'
export { Store, type StoreOptions } from './kv/store.js'
export { Batch, Table, type TableOptions, type WriteOptions } from './kv/table.js'
export { Transaction } from './kv/transaction.js'

export type { EncryptionConfig } from './config/storage.js'
export type { KekResult } from './encryption/rotate-kek.js'
export type { DekBinding } from './keys/binding.js'
export type { Dek } from './native.js'
export { dataKeyProvider } from './keys/data-key-provider.js'
export type { DataKeyService, OpenedDataKey, ResealedDataKey, SealedDataKey } from './keys/data-key-service.js'
export type { EncryptionContext } from './keys/encryption-context.js'
export { openKeyProvider } from './keys/open.js'
export type {
  KeyProvider,
  NewDek,
  ProviderDescriptor,
  RewrapResult,
  UnwrapResult,
  WrappedDek,
  Wrapping,
} from './keys/provider.js'
export { type KeyRotationOptions, rotateKeys } from './rotate-keys.js'
export type { RunningServer } from './server/run.js'
export { type ServerOptions, startServer } from './start-server.js'

export type { AsyncOptions, AsyncStatements } from './sqlite/async.js'
export { Database } from './sqlite/database.js'
export type { AggregateOptions, FunctionOptions, PragmaOptions, SerializeOptions } from './sqlite/database.js'
export type { BackupOptions, BackupProgress } from './sqlite/backup.js'
export type { KeyProviderOption } from './keys/option.js'
export type { DatabaseOptions } from './sqlite/opening.js'
export { SqliteError } from './sqlite/sqlite-error.js'
export type { ColumnDefinition } from './sqlite/prepared.js'
export type { RunResult, Statement } from './sqlite/statement.js'
export type { VirtualTableOptions } from './sqlite/table.js'
export type { Transaction as DatabaseTransaction } from './sqlite/transaction.js'
