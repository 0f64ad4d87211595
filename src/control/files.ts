/** What was last seen of each encrypted file, so that an old file and its old manifest, put back together, do not pass for new. */
import { basename } from 'node:path'
import type { FileStatus, SeenFile } from '../encryption/status.js'
import type { EventLog } from './events.js'
import { type ControlStore, type Plan, isObject, isText, isTime, orNull, planOf, rowOf } from './store.js'

export interface FileRecord {
  /** The highest generation of its DEK that was seen; a u64 in decimal. */
  readonly generation: string
  /** When the file was made, and when its DEK was changed, as its manifest said with that generation. */
  readonly created_at: string
  readonly rotated_at: string | null
  /** The KEK that wraps its DEK. */
  readonly key_id: string | null
  /** When every page of it was last seen to authenticate, as far as that was told: the end of a change of the DEK has seen it. */
  readonly verified_at: string | null
  /** What a verification since has found wrong with it. */
  readonly defect: string | null
}

type Known = Omit<FileRecord, 'verified_at' | 'defect'>

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

  /** A file that this server has made; nothing if it is plain. */
  created({ subject, ...seen }: SeenFile): Plan[] {
    const found = knownOf(seen)
    return subject === null || found === undefined
      ? []
      : [this.#put(subject, { ...found, verified_at: null, defect: null })]
  }

  forget(subject: string): Plan {
    return planOf({ table: 'files', key: subject, value: null }, () => {
      this.#records.delete(subject)
    })
  }

  /**
   * Compares what a start has seen with what those before have; what is new is recorded. Subjects in `adopted` come with an event
   * of their own. Returns a line for each file that was put back.
   */
  async observe(files: readonly SeenFile[], adopted: ReadonlySet<string>): Promise<string[]> {
    const warnings: string[] = []
    await this.#store.commit(() =>
      files.flatMap((seen) => {
        const { subject } = seen
        if (subject === null) return []
        const older = this.#putBack(subject, seen)
        if (older === undefined) return this.#changed(subject, seen, adopted.has(subject))
        warnings.push(`${subject}: ${older}`)
        return this.#events.recordOnce('older_file_put_back', subject, older)
      }),
    )
    return warnings
  }

  /** The status with what is recorded: when the file was verified, and whether it is an older one than was here before. */
  annotate<Status extends FileStatus>(status: Status): Status {
    const known = status.subject === null ? undefined : this.#records.get(status.subject)
    if (status.subject === null || known === undefined) return status
    // A backup or a migrated copy has the subject of the file that it was made from.
    if (!status.subject.endsWith(`:${basename(status.path)}`)) return status
    const older = this.#putBack(status.subject, status)
    const notes = [status.note, older, known.defect].filter((note) => typeof note === 'string')
    const verified = { ...status, verified_at: known.verified_at }
    return notes.length === 0 ? verified : { ...verified, note: notes.join('; ') }
  }

  /**
   * What a verification found of the file that bore the key of these times: nothing amiss, or a defect. Of another one, which was put
   * back or has taken its place, the records say nothing.
   */
  async verified(
    subject: string,
    seen: Pick<SeenFile, 'created_at' | 'rotated_at'>,
    defect: string | null,
  ): Promise<void> {
    await this.#store.commit(() => {
      const known = this.#records.get(subject)
      if (known === undefined || keyedAt(known) !== keyedAt(seen)) return []
      if (defect === null) return [this.#put(subject, { ...known, verified_at: new Date().toISOString(), defect })]
      return [this.#put(subject, { ...known, defect }), ...this.#events.recordOnce('defect_found', subject, defect)]
    })
  }

  #putBack(subject: string, seen: Omit<SeenFile, 'subject'>): string | undefined {
    const known = this.#records.get(subject)
    const found = knownOf(seen)
    return known && found && putBack(known, found)
  }

  /** The changes of a file that is not an older one. */
  #changed(subject: string, seen: Omit<SeenFile, 'subject'>, isAdopted: boolean): Plan[] {
    const known = this.#records.get(subject)
    const found = knownOf(seen)
    if (found === undefined) {
      // Encryption is off: whoever encrypts the file again begins with a new one.
      const isDecrypted = known !== undefined && seen.state === 'plaintext'
      return isDecrypted ? [this.forget(subject), this.#events.record('file_decrypted', subject)] : []
    }
    if (known === undefined) {
      const record = this.#put(subject, { ...found, verified_at: found.rotated_at, defect: null })
      return isAdopted ? [record] : [record, this.#events.record('file_encrypted', subject)]
    }
    const change = changeOf(known, found)
    if (change === undefined) return []
    // A change of the DEK has read every page; another KEK says nothing of the pages.
    const { verified_at, defect } =
      change.event === 'kek_rotated' ? known : { verified_at: found.rotated_at, defect: null }
    return [
      this.#put(subject, { ...found, verified_at, defect }),
      this.#events.record(change.event, subject, change.note),
    ]
  }

  #put(subject: string, record: FileRecord): Plan {
    return planOf({ table: 'files', key: subject, value: record }, () => {
      this.#records.set(subject, record)
    })
  }
}

function knownOf({ generation, created_at, rotated_at, key_id }: Omit<SeenFile, 'subject'>): Known | undefined {
  return generation === null || created_at === null ? undefined : { generation, created_at, rotated_at, key_id }
}

/** What has happened to a file that is not an older one. */
function changeOf(
  known: Known,
  found: Known,
): { event: 'file_replaced' | 'dek_rotated' | 'kek_rotated'; note: string } | undefined {
  if (found.created_at !== known.created_at) {
    return { event: 'file_replaced', note: `made at ${found.created_at}, the one before at ${known.created_at}` }
  }
  if (BigInt(found.generation) > BigInt(known.generation) || keyedAt(found) > keyedAt(known)) {
    return { event: 'dek_rotated', note: `generation ${known.generation} to ${found.generation}` }
  }
  if (found.key_id === known.key_id) return undefined
  return { event: 'kek_rotated', note: `key ${known.key_id ?? 'unknown'} to ${found.key_id ?? 'unknown'}` }
}

/**
 * Why this cannot be the newest file. A generation never goes back within the life of a file; and a file that takes its place,
 * made anew or rekeyed after it was restored, has a key that was made later. So rekeying is the way to keep a restored file: whoever
 * kept the old file may have kept its key.
 */
function putBack(known: Known, found: Known): string | undefined {
  if (found.created_at === known.created_at && BigInt(found.generation) < BigInt(known.generation)) {
    return `an older file was put back: its key is of generation ${found.generation}, and ${known.generation} was here before`
  }
  if (keyedAt(found) < keyedAt(known)) {
    return `an older file was put back: its key was made at ${keyedAt(found)}, and one made at ${keyedAt(known)} was here before`
  }
  return undefined
}

/** When its present DEK was made. Times of manifests have one form, which sorts as text. */
function keyedAt(known: Pick<Known, 'created_at' | 'rotated_at'>): string
function keyedAt(seen: Pick<SeenFile, 'created_at' | 'rotated_at'>): string | null
function keyedAt({ created_at: createdAt, rotated_at: rotatedAt }: Pick<SeenFile, 'created_at' | 'rotated_at'>) {
  return rotatedAt ?? createdAt
}

function parseFile(value: unknown): FileRecord | undefined {
  // Rows from before verifications were recorded have no `defect`.
  return rowOf<FileRecord>(isObject(value) ? { defect: null, ...value } : value, {
    generation: isGeneration,
    created_at: isTime,
    rotated_at: orNull(isTime),
    key_id: orNull(isText),
    verified_at: orNull(isTime),
    defect: orNull(isText),
  })
}

const isGeneration = (value: unknown): value is string => isText(value) && /^[1-9][0-9]{0,19}$/.test(value)
