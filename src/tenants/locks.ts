/** Who waits for whom among the requests of one process: a document is changed by one request at a time, a schema alone. */

/** Serialises work on the same keys, in order of arrival. All keys are taken at once, so nobody waits in a circle. */
export class KeyedLocks {
  readonly #last = new Map<string, Promise<void>>()

  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const before = keys.map((key) => this.#last.get(key) ?? Promise.resolve())
    const turn = new Signal()
    for (const key of keys) this.#last.set(key, turn.fired)
    try {
      await Promise.all(before)
      return await work()
    } finally {
      turn.fire()
      for (const key of keys) if (this.#last.get(key) === turn.fired) this.#last.delete(key)
    }
  }
}

/** Lets writers of a table in together, and a change of its schema only alone; those who come during it wait. */
export class TableGates {
  readonly #gates = new Map<string, Gate>()

  async shared<T>(tables: readonly string[], work: () => Promise<T>): Promise<T> {
    const gates = tables.map((table) => this.#gate(table))
    for (let shut = firstShut(gates); shut !== undefined; shut = firstShut(gates)) await shut.fired
    for (const gate of gates) gate.inside += 1
    try {
      return await work()
    } finally {
      for (const gate of gates) {
        gate.inside -= 1
        if (gate.inside === 0) gate.emptied?.fire()
      }
    }
  }

  async exclusive<T>(table: string, work: () => Promise<T>): Promise<T> {
    const gate = this.#gate(table)
    while (gate.reopened !== undefined) await gate.reopened.fired
    const reopened = new Signal()
    gate.reopened = reopened
    try {
      if (gate.inside > 0) {
        gate.emptied = new Signal()
        await gate.emptied.fired
      }
      return await work()
    } finally {
      gate.emptied = undefined
      gate.reopened = undefined
      reopened.fire()
    }
  }

  #gate(table: string): Gate {
    let gate = this.#gates.get(table)
    if (gate === undefined) {
      gate = { inside: 0, reopened: undefined, emptied: undefined }
      this.#gates.set(table, gate)
    }
    return gate
  }
}

interface Gate {
  inside: number
  /** Set while the gate is shut; fires when it opens. */
  reopened: Signal | undefined
  /** Set while whoever shut the gate waits for those inside to leave. */
  emptied: Signal | undefined
}

function firstShut(gates: readonly Gate[]): Signal | undefined {
  return gates.find((gate) => gate.reopened !== undefined)?.reopened
}

/** Something that happens once. */
export class Signal {
  readonly fired: Promise<void>
  #resolve: () => void = () => undefined

  constructor() {
    this.fired = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  fire(): void {
    this.#resolve()
  }
}
