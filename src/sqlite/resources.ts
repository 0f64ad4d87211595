/** What a database holds beside its memory: files, native handles and keys. */
import { rmSync } from 'node:fs'
import { library } from '../native.js'
import { Pool } from './async.js'
import type { Connection } from './connection.js'
import type { DatabaseKey, OpenFlags } from './key.js'
import type { ProvidedFile } from './provided.js'

/** How a database was opened. */
export interface Opened {
  /** As it was given. */
  readonly name: string
  readonly isAnonymous: boolean
  readonly path: string
  readonly flags: OpenFlags
  /** Absent for a plain one. */
  readonly profile: DatabaseKey['profile'] | undefined
  readonly provided: ProvidedFile | undefined
  /** Made for this database alone. */
  readonly directory: string | undefined
}

/** Released when its database is closed, or forgotten. */
export class Resources {
  readonly connection: Connection
  readonly opened: Opened
  #pool: Pool | undefined

  constructor(connection: Connection, opened: Opened) {
    this.connection = connection
    this.opened = opened
  }

  /** Has them released when `owner` is collected. */
  heldBy(owner: object): this {
    forgotten.register(owner, this, this)
    return this
  }

  /** The connections for native threads; they are opened at the first statement. */
  get pool(): Pool {
    return (this.#pool ??= new Pool(this.connection))
  }

  get isPoolIdle(): boolean {
    return this.#pool?.isIdle ?? true
  }

  closePool(): void {
    this.#pool?.close()
  }

  release(): void {
    forgotten.unregister(this)
    if (this.connection.open) {
      this.connection.open = false
      this.closePool()
      library.close(this.connection.handle)
    }
    const { provided, directory } = this.opened
    provided?.release()
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true })
  }
}

const forgotten = new FinalizationRegistry((resources: Resources) => {
  resources.release()
})
