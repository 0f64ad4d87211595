/** A database: better-sqlite3's `Database`, with a key where one is given. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callable, library } from '../native.js'
import { defineAggregate } from './aggregate.js'
import { AsyncStatements } from './async.js'
import { backUp, type BackupOptions, type BackupProgress, serialize } from './backup.js'
import {
  assertFree,
  assertIdle,
  assertNoIterators,
  assertNoIteratorsUnlessUnsafe,
  assertOpen,
  type Connection,
  whileBusy,
} from './connection.js'
import { openNative } from './key.js'
import { providedAtOnce, providedLater } from './key-provider.js'
import { type DatabaseOptions, openingOf, whyNotOpened } from './opening.js'
import { attachedOption, booleanOption, functionFlags, lengthOf, optionsOf, safeIntegersOption } from './options.js'
import { openProvided, ownerOf } from './provided.js'
import { PreparedStatement } from './prepared.js'
import { Resources } from './resources.js'
import { booleanOf, Statement } from './statement.js'
import { defineTable, type VirtualTableOptions } from './table.js'
import { stepsOf, type Steps, type Transaction, wrap } from './transaction.js'

/** How a function of JavaScript appears in SQL. */
export interface FunctionOptions {
  /** Take any number of arguments. */
  varargs?: boolean
  /** The same arguments always give the same result: it may be used in indexes. */
  deterministic?: boolean
  /** Integers come as bigints; as the database has it by default. */
  safeIntegers?: boolean
  /** Refuse it inside of triggers and views. */
  directOnly?: boolean
}

/** An aggregate: with `inverse` also a window function. */
export interface AggregateOptions<T> extends FunctionOptions {
  /** What a group starts with, or a function that says so; null by default. */
  start?: T | (() => T)
  /** What has been accumulated, with one more row; undefined leaves it as it is. */
  step: (total: T, ...values: never[]) => T | undefined
  /** The same with one row less. */
  inverse?: (total: T, ...values: never[]) => T | undefined
  /** From what has been accumulated to the result; as it is by default. */
  result?: (total: T) => unknown
}

export interface PragmaOptions {
  /** Only the first column of the first row. */
  simple?: boolean
}

export interface SerializeOptions {
  /** The name of an attached database; `main` by default. */
  attached?: string
}

const MOST_ARGUMENTS = 100

const beingCopied = new Set<object>()

class DatabaseClass {
  readonly #connection: Connection
  readonly #resources: Resources
  #steps: Steps | undefined

  /** The path as it was given. */
  declare readonly name: string
  /** Whether it is open. */
  declare readonly open: boolean
  /** Whether a transaction is open. */
  declare readonly inTransaction: boolean
  /** Whether every write is refused. */
  declare readonly readonly: boolean
  /** Whether it has no file of its own that lasts. */
  declare readonly memory: boolean

  /**
   * Opens a database, or makes one. Without a path, with `''` or `':memory:'` it is temporary; a Buffer of `serialize()` is copied.
   *
   * @throws TypeError, RangeError for mistakes of the caller; SqliteError: `SQLITE_CANTOPEN`, `SQLITE_NOTADB` for a wrong key, `SQLITE_CORRUPT`
   * for a log or journal of another file; with a provider NimbusError: `file_busy`, `data_missing`, `manifest_missing`, `manifest_altered`,
   * `manifest_mismatch`, `file_corrupt`, `config_invalid`, and those of the provider
   */
  constructor(source?: string | Buffer | null, given?: DatabaseOptions | null) {
    const opening = openingOf(source, given)
    const { source: name, path, isAnonymous, serialized, verbose, flags, key } = opening
    // The bytes of an encrypted database are a file, not an image of memory.
    const directory = serialized !== undefined && key !== undefined ? mkdtempSync(join(tmpdir(), 'nimbus-')) : undefined
    const opened = directory === undefined ? path : join(directory, 'database')
    const provided = opening.keyProvider === undefined ? undefined : providedAtOnce(opening, opening.keyProvider)
    try {
      if (directory !== undefined && serialized !== undefined) writeFileSync(opened, serialized, { mode: 0o600 })
      this.#connection = {
        handle:
          provided === undefined
            ? openNative(opened, flags, key, directory === undefined ? serialized : undefined)
            : openProvided(opened, flags, provided),
        open: true,
        busy: false,
        iterators: 0,
        safeIntegers: false,
        unsafe: false,
        calls: false,
        verbose,
      }
    } catch (error) {
      provided?.release()
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true })
      throw whyNotOpened(error, opening)
    } finally {
      if (opening.wipeKey) key?.bytes.fill(0)
    }
    const profile = key?.profile ?? provided?.profile
    const how = { name, isAnonymous, path: opened, flags, profile, provided, directory }
    this.#resources = new Resources(this.#connection, how).heldBy(this)
    Object.defineProperties(this, DatabaseClass.#getters)
  }

  /** Properties of each database itself, as in better-sqlite3; with functions of all of them, all have one shape. */
  static readonly #getters: PropertyDescriptorMap & ThisType<DatabaseClass> = {
    name: {
      enumerable: true,
      get() {
        return this.#resources.opened.name
      },
    },
    open: {
      enumerable: true,
      get() {
        return this.#connection.open
      },
    },
    inTransaction: {
      enumerable: true,
      get() {
        return this.#connection.open && library.inTransaction(this.#connection.handle)
      },
    },
    readonly: {
      enumerable: true,
      get() {
        return this.#resources.opened.flags.readonly
      },
    },
    memory: {
      enumerable: true,
      get() {
        return this.#resources.opened.isAnonymous
      },
    },
  }

  /**
   * Opens a database, or makes one, with any key provider. Finishes or undoes a rotation of its key that was interrupted.
   *
   * @throws as the constructor
   */
  static async open<D extends DatabaseClass>(
    this: new (source: string, options: DatabaseOptions) => D,
    source: string,
    options: DatabaseOptions = {},
  ): Promise<D> {
    const opening = openingOf(source, options)
    if (opening.keyProvider === undefined) return new this(source, options)
    const provided = await providedLater(opening, opening.keyProvider)
    return new this(source, Object.assign({}, options, { keyProvider: provided }))
  }

  /** Statements that native threads run while the event loop goes on. */
  get async(): AsyncStatements {
    return new AsyncStatements(this.#resources.pool, this, undefined)
  }

  /** Compiles one statement. */
  prepare<R = unknown>(sql: string): Statement<R> {
    return new Statement<R>(new PreparedStatement(this.#connection, sql, false), this)
  }

  /**
   * A function that runs `run` inside a transaction, which is undone if it throws; inside of another transaction it is a savepoint.
   * Its variants `.deferred`, `.immediate` and `.exclusive` say how the transaction begins.
   */
  transaction<F extends (...values: never[]) => unknown>(run: F): Transaction<F>
  transaction(run: (...values: never[]) => unknown): unknown {
    if (typeof run !== 'function') throw new TypeError('Expected first argument to be a function')
    this.#steps ??= stepsOf(this.#connection, this)
    return wrap(this, this.#steps, run)
  }

  /** Runs `PRAGMA <source>`: its rows, or with `simple` the first column of the first. */
  pragma(source: string, given?: PragmaOptions | null): unknown {
    const options = optionsOf(given, 'second')
    if (typeof source !== 'string') throw new TypeError('Expected first argument to be a string')
    const simple = booleanOption(options, 'simple')
    const statement = new Statement(new PreparedStatement(this.#connection, `PRAGMA ${source}`, true), this)
    return simple ? statement.pluck().get() : statement.all()
  }

  /** Runs every statement of `sql`, which has no parameters. */
  exec(sql: string): this {
    const connection = this.#connection
    if (typeof sql !== 'string') throw new TypeError('Expected first argument to be a string')
    assertOpen(connection)
    assertIdle(connection)
    assertNoIteratorsUnlessUnsafe(connection)
    whileBusy(connection, () => library.exec(connection.handle, sql, connection.verbose))
    return this
  }

  /**
   * Copies the database to a file while it is in use. The copy of an encrypted one is under the same key; where a provider wraps that, the
   * copy gets a manifest of its own, and its name must be free.
   */
  async backup(path: string, options?: BackupOptions | null): Promise<BackupProgress> {
    // It is closed when it is collected, and nobody else may hold it.
    beingCopied.add(this)
    try {
      return await backUp(this.#connection, path, options, this.#resources.opened.provided?.file)
    } finally {
      beingCopied.delete(this)
    }
  }

  /** The database as bytes, which `new Database(bytes)` opens; of an encrypted one they are encrypted under the same key. */
  serialize(options?: SerializeOptions | null): Buffer {
    const schema = attachedOption(optionsOf(options, 'first'))
    return serialize(this.#connection, schema, this.#resources.opened.profile !== undefined)
  }

  /** Defines a function for SQL; with as many arguments as it has parameters, unless `varargs` is set. */
  function(name: string, run: (...values: never[]) => unknown): this
  function(name: string, options: FunctionOptions | null | undefined, run: (...values: never[]) => unknown): this
  function(name: unknown, second: unknown, third?: unknown): this {
    const [given, run] = typeof second === 'function' ? [undefined, second] : [second, third]
    if (typeof name !== 'string') throw new TypeError('Expected first argument to be a string')
    if (typeof run !== 'function') throw new TypeError('Expected last argument to be a function')
    const options = optionsOf(given, 'second')
    if (name === '') throw new TypeError('User-defined function name cannot be an empty string')
    const safeIntegers = safeIntegersOption(options)
    const flags = functionFlags(options)
    const count = booleanOption(options, 'varargs') ? -1 : lengthOf(run)
    if (count > MOST_ARGUMENTS) throw new RangeError('User-defined functions cannot have more than 100 arguments')
    const connection = this.#connection
    assertFree(connection)
    const call = (...values: unknown[]): unknown => Reflect.apply(run, undefined, values)
    library.function(connection.handle, name, count, safeIntegers, flags, call)
    connection.calls = true
    return this
  }

  /** Defines an aggregate for SQL, with `inverse` a window function. */
  aggregate<T>(name: string, options: AggregateOptions<T>): this {
    defineAggregate(this.#connection, name, options)
    return this
  }

  /** Defines a virtual table, or a module that makes one for each `CREATE VIRTUAL TABLE`. */
  table(name: string, factory: VirtualTableOptions | ((...words: string[]) => VirtualTableOptions)): this {
    defineTable(this.#connection, name, factory)
    return this
  }

  /** Loads an extension of SQLite: native code, which can do anything. */
  loadExtension(path: string, ...entryPoint: [name?: string]): this {
    const connection = this.#connection
    if (typeof path !== 'string') throw new TypeError('Expected first argument to be a string')
    if (entryPoint.length > 0 && typeof entryPoint[0] !== 'string') {
      throw new TypeError('Expected second argument to be a string')
    }
    assertFree(connection)
    library.loadExtension(connection.handle, path, entryPoint[0])
    return this
  }

  /**
   * Closes it, with everything that was prepared on it. Asynchronous statements that are not done are interrupted, which is waited for:
   * they are rejected with `SQLITE_INTERRUPT`, and have changed nothing.
   */
  close(): this {
    const connection = this.#connection
    if (!connection.open) return this
    assertIdle(connection)
    assertNoIterators(connection)
    this.#resources.release()
    return this
  }

  /** Whether statements that are prepared from now on return integers as bigints. */
  defaultSafeIntegers(...toggle: [on?: boolean]): this {
    const connection = this.#connection
    connection.safeIntegers = booleanOf(toggle)
    this.#configure()
    return this
  }

  /** Allows writing while an iteration is under way, and SQL that can corrupt the file on purpose. */
  unsafeMode(...toggle: [on?: boolean]): this {
    this.#connection.unsafe = booleanOf(toggle)
    this.#configure()
    return this
  }

  /**
   * Encrypts every page anew under another key: 32 bytes. The file is closed and opened again, so statements are to be prepared,
   * and functions defined, again. Close other connections first. When it returns, every page has been authenticated under the new key.
   *
   * @throws TypeError for a file with a key provider, which `nimbus encryption rotate-dek` gives another key; SqliteError: this database
   * is then closed, and the message says what the file is under: `SQLITE_BUSY` while others use it, and nothing has changed
   */
  rekey(bytes: Uint8Array): this {
    const connection = this.#connection
    const { path, flags, profile, provided } = this.#resources.opened
    if (profile === undefined) throw new TypeError('Only a database that was opened with a key can be given another')
    const file = provided?.file
    if (file !== undefined) {
      const command = `nimbus encryption rotate-dek --path ${file.path} --provider sqlite --tenant-id ${ownerOf(file)}`
      throw new TypeError(`The key of this file is its provider's to make: close it and run ${command}`)
    }
    if (!(bytes instanceof Uint8Array) || bytes.length !== 32) throw new TypeError('Expected the key to have 32 bytes')
    assertFree(connection)
    if (this.inTransaction) throw new TypeError('The key cannot be changed inside a transaction')
    if (!this.#resources.isPoolIdle) throw new TypeError('Asynchronous statements are under way: await them first')
    this.#resources.closePool()
    const isWal = this.pragma('journal_mode', { simple: true }) === 'wal'
    connection.open = false
    this.#steps = undefined
    library.rekey(connection.handle, bytes)
    connection.handle = openNative(path, { ...flags, mustExist: true }, { bytes, profile }, undefined)
    connection.open = true
    this.#configure()
    if (isWal) this.pragma('journal_mode = WAL')
    return this
  }

  #configure(): void {
    const { open, handle, unsafe, safeIntegers } = this.#connection
    if (open) library.defensive(handle, !unsafe, safeIntegers)
  }

  /** What `console.log` shows. */
  [Symbol.for('nodejs.util.inspect.custom')](): object {
    // eslint-disable-next-line @typescript-eslint/no-extraneous-class -- only its name is shown
    return Object.assign(new (class Database {})(), this)
  }
}
/** Whoever asks a statement or a transaction for its database gets all of it. */
declare module './connection.js' {
  interface Owner extends DatabaseClass {
    readonly inTransaction: boolean
  }
}

Object.defineProperty(DatabaseClass, 'name', { value: 'Database', configurable: true })

/** A SQLite database, plain or encrypted; with or without `new`. */
export const Database = callable(DatabaseClass)
export type Database = DatabaseClass
