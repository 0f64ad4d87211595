/**
 * Who writes when. What one turn of the event loop brings shares a commit, and the next commit begins when that one has ended;
 * what arrives meanwhile shares the next.
 *
 * Who cannot wait for a promise waits with the whole thread: such a write comes after everything that was asked for before it, and
 * takes what waits along.
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

/** What several requests change together, and those of them that could say what. */
interface Group {
  readonly operations: KvOperation[]
  readonly durability: 'immediate' | 'eventual'
  readonly answer: () => void
}

export class Writer {
  readonly #store: KvStore
  #waiting: Request[] = []
  #running: Promise<void> | undefined
  #isDeciding = false

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
    return this.#ask(layingOut(copies), options)
  }

  /** As `write`, done when it returns. */
  writeSync(operations: readonly KvOperation[], options: WriteOptions): void {
    // Nothing else runs before they are packed, so they need no copy.
    this.#doNow(layingOut(operations), options)
  }

  /** Fulfilled with what `work` returns, when its changes are committed; rejected with what it throws, and nothing is changed then. */
  transact<R>(work: (transaction: Transaction) => R, options: WriteOptions): Promise<R> {
    return this.#ask((overlay) => decide(work, overlay), options)
  }

  /** As `transact`, done when it returns. */
  transactSync<R>(work: (transaction: Transaction) => R, options: WriteOptions): R {
    return this.#doNow((overlay) => decide(work, overlay), options)
  }

  /** Waits for everything that was asked for so far. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  #ask<R>(change: (overlay: Overlay) => R, options: WriteOptions): Promise<R> {
    return new Promise((resolve, reject) => {
      const apply = (overlay: Overlay): (() => void) => {
        const result = change(overlay)
        return () => resolve(result)
      }
      this.#waiting.push({ apply, reject, isEventual: options.durability === 'eventual' })
      this.#running ??= new Promise<void>((ready) => setImmediate(ready)).then(() => this.#run())
    })
  }

  /** Last of everything that was asked for so far, all of which this thread waits for. */
  #doNow<R>(change: (overlay: Overlay) => R, options: WriteOptions): R {
    if (this.#isDeciding)
      throw new TypeError('a transaction is being decided: write through what its function was given')
    let outcome: { readonly result: R } | undefined
    let failure: unknown
    const apply = (overlay: Overlay): (() => void) => {
      const result = change(overlay)
      return () => (outcome = { result })
    }
    const reject = (error: unknown): void => void (failure = error)
    // What is being committed is not in any snapshot yet.
    this.#store.settleSync()
    const requests = [...this.#waiting.splice(0), { apply, reject, isEventual: options.durability === 'eventual' }]
    try {
      const { operations, durability, answer } = this.#gather(requests)
      if (operations.length > 0) this.#store.writeSync(operations, { durability })
      answer()
    } catch (error) {
      for (const request of requests) request.reject(error)
    }
    if (outcome === undefined) throw failure
    return outcome.result
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#commit(this.#waiting.splice(0))
    this.#running = undefined
  }

  async #commit(requests: readonly Request[]): Promise<void> {
    try {
      const { operations, durability, answer } = this.#gather(requests)
      if (operations.length > 0) await this.#store.write(operations, { durability })
      answer()
    } catch (error) {
      // Whoever was answered already does not hear of it: a promise is settled once.
      for (const { reject } of requests) reject(error)
    }
  }

  /** Lets each request lay its changes over those of the ones before it; one that throws is rejected, and has changed nothing. */
  #gather(requests: readonly Request[]): Group {
    const applied: { readonly request: Request; readonly answer: () => void }[] = []
    const snapshot = new Snapshot(this.#store.snapshot())
    const overlay = new Overlay(snapshot)
    this.#isDeciding = true
    try {
      for (const request of requests) {
        try {
          applied.push({ request, answer: request.apply(overlay) })
        } catch (error) {
          request.reject(error)
        }
      }
    } finally {
      this.#isDeciding = false
      snapshot.close()
    }
    return {
      operations: overlay.operations(),
      durability: applied.every(({ request }) => request.isEventual) ? 'eventual' : 'immediate',
      answer: () => {
        for (const { answer } of applied) answer()
      },
    }
  }
}

/** A change that lays out what it is given. */
function layingOut(operations: readonly KvOperation[]): (overlay: Overlay) => void {
  return (overlay) => {
    for (const operation of operations) overlay.set(operation)
  }
}

/** Runs the function of a transaction in a layer of its own, which becomes part of `overlay` unless it throws. */
function decide<R>(work: (transaction: Transaction) => R, overlay: Overlay): R {
  const layer = new Overlay(overlay)
  const transaction = new Transaction(layer)
  try {
    const result = work(transaction)
    if (result instanceof Promise) {
      result.catch(() => undefined)
      throw new TypeError('the function of a transaction may not be async: nothing else may happen while it decides')
    }
    layer.settle()
    return result
  } finally {
    transaction.end()
  }
}
