/** What was last seen of each encrypted file, so that an old file and its old manifest, put back together, do not pass for new. */
import type { FileStatus } from '../encryption/status.js'
import type { EventLog } from './events.js'
import { type ControlStore, type Plan, isText, isTime, orNull, planOf, rowOf } from './store.js'

export interface FileRecord {
  /** The highest generation of its DEK that was seen; a u64 in decimal. */
  readonly generation: string
  /** When the file was made, as its manifest said with that generation. */
  readonly created_at: string
  readonly verified_at: string | null
}

/** What of a status is compared; a file without a manifest that can be read has none of it. */
type Seen = Pick<FileStatus, 'subject' | 'generation' | 'created_at'>

export class FileRecords {
  readonly #store: ControlStore
  readonly #events: EventLog
  readonly #records: Map<string, FileRecord>

  private constructor(store: ControlStore, events: EventLog, records: Map<string, FileRecord>) {
    this.#store = store
    this.#events = events
    this.#records = records
  }

  static load(store: ControlStore, events: EventLog): FileRecords {
    const rows = store.load('files', parseFile).map(([key, row]): [string, FileRecord] => [key.toString(), row])
    return new FileRecords(store, events, new Map(rows))
  }

  /** A file that this server has made; its first DEK is of generation 1. */
  created(subject: string, createdAt: string): Plan {
    return this.#put(subject, { generation: '1', created_at: createdAt, verified_at: null })
  }

  forget(subject: string): Plan {
    return planOf({ table: 'files', key: subject, value: null }, () => {
      this.#records.delete(subject)
    })
  }

  /** Compares the manifests of a start with those before; what is new is recorded. Returns a line for each file put back. */
  async observe(files: readonly Seen[]): Promise<string[]> {
    const warnings: string[] = []
    const plans: Plan[] = []
    for (const { subject, generation, created_at: createdAt } of files) {
      if (subject === null || generation === null || createdAt === null) continue
      const known = this.#records.get(subject)
      if (known === undefined || BigInt(generation) > BigInt(known.generation)) {
        plans.push(this.#put(subject, { generation, created_at: createdAt, verified_at: known?.verified_at ?? null }))
        if (known !== undefined) {
          plans.push(this.#events.record('key_rotated', subject, `generation ${known.generation} to ${generation}`))
        }
        continue
      }
      const older = putBack(known, generation, createdAt)
      if (older === undefined) continue
      warnings.push(`${subject}: ${older}`)
      plans.push(this.#events.record('older_file_put_back', subject, older))
    }
    await this.#store.commit(plans)
    return warnings
  }

  /** The status with what is recorded: when the file was verified, and whether it is an older one than was here before. */
  annotate<Status extends FileStatus>(status: Status): Status {
    const known = status.subject === null ? undefined : this.#records.get(status.subject)
    if (known === undefined) return status
    const { generation, created_at: createdAt } = status
    const older = generation === null || createdAt === null ? undefined : putBack(known, generation, createdAt)
    const verified = { ...status, verified_at: known.verified_at }
    if (older === undefined) return verified
    return { ...verified, note: status.note === undefined ? older : `${status.note}; ${older}` }
  }

  #put(subject: string, record: FileRecord): Plan {
    return planOf({ table: 'files', key: subject, value: record }, () => {
      this.#records.set(subject, record)
    })
  }
}

/**
 * Why this cannot be the newest file: a generation never goes back, and a rekey keeps the time of creation. A new generation
 * above all that were seen ends it: rekeying is the remedy, since whoever kept an old file may have kept its key.
 */
function putBack(known: FileRecord, generation: string, createdAt: string): string | undefined {
  if (BigInt(generation) < BigInt(known.generation)) {
    return `an older file was put back: its key is of generation ${generation}, and ${known.generation} was here before`
  }
  if (generation === known.generation && createdAt !== known.created_at) {
    return `another file was put back: it was made at ${createdAt}, and the one here before at ${known.created_at}`
  }
  return undefined
}

function parseFile(value: unknown): FileRecord | undefined {
  return rowOf<FileRecord>(value, { generation: isGeneration, created_at: isTime, verified_at: orNull(isTime) })
}

const isGeneration = (value: unknown): value is string => isText(value) && /^[1-9][0-9]{0,19}$/.test(value)
