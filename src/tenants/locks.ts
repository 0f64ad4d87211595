/** Who waits for whom among the requests of one process: a document is changed by one request at a time, a schema alone. */

/** Serialises work on the same keys, in order of arrival. All keys are taken at once, so nobody waits in a circle. */
export class KeyedLocks {
  readonly #last = new Map<string, Promise<void>>()

  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    if (keys.length === 0) return work()
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
    for (let shut = this.#firstShut(tables); shut !== undefined; shut = this.#firstShut(tables)) await shut.fired
    const gates = tables.map((table) => this.#gate(table))
    for (const gate of gates) gate.inside += 1
    try {
      return await work()
    } finally {
      for (const gate of gates) {
        gate.inside -= 1
        if (gate.inside === 0) gate.emptied?.fire()
      }
      for (const table of tables) this.#forgetUnused(table)
    }
  }

  async exclusive<T>(table: string, work: () => Promise<T>): Promise<T> {
    for (let shut = this.#firstShut([table]); shut !== undefined; shut = this.#firstShut([table])) await shut.fired
    const gate = this.#gate(table)
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
      this.#forgetUnused(table)
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

  #firstShut(tables: readonly string[]): Signal | undefined {
    for (const table of tables) {
      const reopened = this.#gates.get(table)?.reopened
      if (reopened !== undefined) return reopened
    }
    return undefined
  }

  /** Anybody can name a table that does not exist; no memory is kept of it. */
  #forgetUnused(table: string): void {
    const gate = this.#gates.get(table)
    if (gate?.inside === 0 && gate.reopened === undefined) this.#gates.delete(table)
  }
}

interface Gate {
  inside: number
  /** Set while the gate is shut; fires when it opens. */
  reopened: Signal | undefined
  /** Set while whoever shut the gate waits for those inside to leave. */
  emptied: Signal | undefined
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
