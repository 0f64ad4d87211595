/** What happened to the files, tenants, keys and tokens of this server: the newest so many, each committed with what it tells of. */
import { NimbusError } from '../errors.js'
import { type Change, type ControlStore, type Plan, isText, isTime, oneOf, orNull, rowOf } from './store.js'

/** The oldest is removed when there are more. */
export const MOST_EVENTS = 10_000

const NAMES = [
  'control_plane_created',
  'tenant_created',
  'tenant_creation_undone',
  'tenant_creation_finished',
  'tenant_deleted',
  'tenant_deletion_finished',
  'tenant_found',
  'tenant_lost',
  'tenant_restored',
  'tenant_loss_accepted',
  'file_encrypted',
  'file_decrypted',
  'file_replaced',
  'dek_rotated',
  'kek_rotated',
  'rotation_settled',
  'older_file_put_back',
  'defect_found',
  'start_refused',
  'token_created',
  'token_revoked',
] as const

export interface ControlEvent {
  /** RFC 3339, UTC. */
  readonly at: string
  readonly event: (typeof NAMES)[number]
  /** A descriptor, `tenant:<id>` of a provider without files, `token:<id>`, or the path of a file that refused a start. */
  readonly subject: string
  readonly note: string | null
}

/** The event that a control plane begins with. */
export function firstEvent(subject: string, note: string): Change {
  return { table: 'events', key: keyOf(1), value: eventOf('control_plane_created', subject, note) }
}

/** Numbered from 1, in the order in which they were given out. */
export class EventLog {
  readonly #events: Map<number, ControlEvent>
  #next: number

  private constructor(events: Map<number, ControlEvent>) {
    this.#events = events
    this.#next = Math.max(0, ...events.keys()) + 1
  }

  static load(store: ControlStore): EventLog {
    const rows = store.load('events', parseEvent)
    return new EventLog(new Map(rows.map(([key, event]) => [numberOf(key, store.path), event])))
  }

  /** Records an event and drops the oldest ones: to be committed with what the event tells of. */
  record(event: ControlEvent['event'], subject: string, note: string | null = null): Plan {
    const number = this.#next
    this.#next += 1
    const entry = eventOf(event, subject, note)
    const surplus = [...this.#events.keys()].slice(0, Math.max(0, this.#events.size + 1 - MOST_EVENTS))
    const dropped = surplus.map((oldest): Change => ({ table: 'events', key: keyOf(oldest), value: null }))
    return {
      changes: [{ table: 'events', key: keyOf(number), value: entry }, ...dropped],
      apply: () => {
        for (const oldest of surplus) this.#events.delete(oldest)
        this.#events.set(number, entry)
      },
    }
  }

  /** Likewise, unless that is the newest event of its subject already: what every start finds again is told once. */
  recordOnce(event: ControlEvent['event'], subject: string, note: string): Plan[] {
    const newest = this.newestOf(subject)
    return newest?.event === event && newest.note === note ? [] : [this.record(event, subject, note)]
  }

  newestOf(subject: string): ControlEvent | undefined {
    return [...this.#events.values()].findLast((known) => known.subject === subject)
  }

  /** The newest `limit`, the newest first. */
  newest(limit: number): ControlEvent[] {
    return [...this.#events.values()].slice(-limit).reverse()
  }
}

function eventOf(event: ControlEvent['event'], subject: string, note: string | null): ControlEvent {
  return { at: new Date().toISOString(), event, subject, note }
}

function parseEvent(value: unknown): ControlEvent | undefined {
  return rowOf<ControlEvent>(value, { at: isTime, event: oneOf(...NAMES), subject: isText, note: orNull(isText) })
}

function keyOf(number: number): Buffer {
  const key = Buffer.alloc(8)
  key.writeBigUInt64BE(BigInt(number))
  return key
}

function numberOf(key: Buffer, path: string): number {
  const number = key.length === 8 ? Number(key.readBigUInt64BE()) : Number.NaN
  if (Number.isSafeInteger(number)) return number
  throw new NimbusError('file_corrupt', `${path} holds an event without a number`, { path })
}
