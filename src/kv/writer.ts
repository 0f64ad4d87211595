/**
 * Who writes when. What one turn of the event loop brings shares a commit, and the next commit begins when that one has ended;
 * what arrives meanwhile shares the next.
 *
 * A transaction is a function that reads and decides. It runs on the state that everything before it leaves behind, committed or
 * about to be, and nothing comes between its reads and its writes: transactions are serial. If the commit fails, whatever was
 * decided on it fails with it.
 */
import type { KvOperation, KvStore } from '../native.js'
import { copyOf } from './copy.js'
import { Overlay } from './overlay.js'
import { Snapshot } from './snapshot.js'
import type { WriteOptions } from './table.js'
import { Transaction } from './transaction.js'

interface Request {
  readonly isEventual: boolean
  /** Lays its changes into the overlay and gives back what answers it, once they are committed. */
  readonly apply: (overlay: Overlay) => () => void
  readonly reject: (error: unknown) => void
}

export class Writer {
  readonly #store: KvStore
  #waiting: Request[] = []
  #running: Promise<void> | undefined

  constructor(store: KvStore) {
    this.#store = store
  }

  /** Fulfilled when they are committed. Keys and values are copied. */
  write(operations: readonly KvOperation[], options: WriteOptions): Promise<void> {
    const copies = operations.map(({ table, key, value }) => ({
      table,
      key: copyOf(key),
      value: value && copyOf(value),
    }))
    return new Promise((resolve, reject) => {
      const apply = (overlay: Overlay): (() => void) => {
        for (const copy of copies) overlay.set(copy)
        return resolve
      }
      this.#add({ apply, reject, isEventual: options.durability === 'eventual' })
    })
  }

  /** Fulfilled with what `work` returns, when its changes are committed; rejected with what it throws, and nothing is changed then. */
  transact<R>(work: (transaction: Transaction) => R, options: WriteOptions): Promise<R> {
    return new Promise((resolve, reject) => {
      const apply = (overlay: Overlay): (() => void) => {
        const layer = new Overlay(overlay)
        const transaction = new Transaction(layer)
        try {
          const result = work(transaction)
          if (result instanceof Promise) {
            result.catch(() => undefined)
            throw new TypeError(
              'the function of a transaction may not be async: nothing else may happen while it decides',
            )
          }
          layer.settle()
          return () => resolve(result)
        } finally {
          transaction.end()
        }
      }
      this.#add({ apply, reject, isEventual: options.durability === 'eventual' })
    })
  }

  /** Waits for everything that was asked for so far. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  #add(request: Request): void {
    this.#waiting.push(request)
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#run())
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#commit(this.#waiting.splice(0))
    this.#running = undefined
  }

  async #commit(requests: readonly Request[]): Promise<void> {
    const applied: { readonly request: Request; readonly answer: () => void }[] = []
    try {
      const snapshot = new Snapshot(this.#store.snapshot())
      const overlay = new Overlay(snapshot)
      try {
        for (const request of requests) {
          try {
            applied.push({ request, answer: request.apply(overlay) })
          } catch (error) {
            request.reject(error)
          }
        }
      } finally {
        snapshot.close()
      }
      const operations = overlay.operations()
      const isEventual = applied.every(({ request }) => request.isEventual)
      if (operations.length > 0)
        await this.#store.write(operations, { durability: isEventual ? 'eventual' : 'immediate' })
      for (const { answer } of applied) answer()
    } catch (error) {
      // Whoever was answered already does not hear of it: a promise is settled once.
      for (const { reject } of requests) reject(error)
    }
  }
}
