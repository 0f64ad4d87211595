/** The public list of the addon, typed; what is behind it lies in `native/`, which nobody else imports. */
export {
  createDirectory,
  createFileExclusive,
  FileLock,
  linkFileDurably,
  publishFile,
  removeFileDurably,
  replaceFile,
  replaceFiles,
  type FileReplacement,
} from './native/disk.js'
export { StatementError, type StatementErrorKind } from './native/failure.js'
export {
  Dek,
  hardenProcess,
  knownAnswers,
  lockedMemory,
  randomBytes,
  readMasterKeyFile,
  readSubjectKeyFile,
  takeDataKey,
  takeKeyFromKmsAnswer,
  wipeStack,
  type LockedMemory,
  type MasterKey,
  type WrappingKey,
} from './native/keys.js'
export {
  KvSnapshot,
  KvStore,
  type KvBound,
  type KvEncryption,
  type KvOperation,
  type KvOptions,
  type KvPairs,
  type KvRange,
  type KvStats,
} from './native/kv-store.js'
export {
  setPageCacheBudget,
  SqliteStore,
  type CipherProfile,
  type Row,
  type SqlParameter,
  type SqlValue,
  type Step,
  type StepResult,
  type StoreEncryption,
  type StoreOptions,
  type StoreStats,
} from './native/sqlite-store.js'
export {
  copyFileDurably,
  foldLog,
  keyOpens,
  rekey,
  reseal,
  sealOpens,
  verifyRedb,
  verifySqlite,
  type EncryptedFile,
  type KeyCheck,
  type SealedFile,
} from './native/rekey.js'
export { copyRedb, copySqlite } from './native/copy.js'
export { keepAlive } from './native/requests.js'
export type { Findings, VerifyOptions, WorkOptions } from './native/work.js'
export { callable, library, optionOf, type PoolAnswer, type TableDefinition } from './native/library.js'
export {
  compileArrays,
  compileNamed,
  compileObjects,
  compilePlucked,
  type RowCode,
  type RowFactory,
  type RowSink,
} from './native/rows.js'
export { counters, exactCounters, leave, leftStatement, slab } from './native/slab.js'
