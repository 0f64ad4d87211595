/** Document ids: UUID version 7 (RFC 9562, section 5.7), strictly increasing within one generator. */
import { NimbusError } from '../errors.js'
import { randomBytes } from '../native.js'

/**
 * The part of an id that orders it. Two ids of one generator never share it, so a database may use it as the key of a
 * document and compare the rest only to reject ids that were guessed.
 */
export interface IdPrefix {
  /** Milliseconds since 1970-01-01, 48 bits. Equal to the clock unless it stood still or went back. */
  readonly ms: number
  /** `rand_a`, 12 bits, a counter within the millisecond (section 6.2, method 1). */
  readonly counter: number
}

export interface DocumentId extends IdPrefix {
  /** Lower case, with hyphens. */
  readonly text: string
}

const MAX_MS = 2 ** 48 - 1
const MAX_COUNTER = 0xfff
/** A counter starts at random in the lower half, so that 2,048 ids at least fit one millisecond. */
const COUNTER_SEED_MASK = 0x7ff
/** 2 bytes seed the counter and 8 fill `rand_b`; asking the system for each id would cost more than the id. */
const RANDOM_POOL_BYTES = 4096

const UUID_V7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7([0-9a-f]{3})-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Ids of one table's documents, each greater than all before: also after the clock went back, and past what `skip` was told. */
export class IdGenerator {
  readonly #now: () => number
  #ms = -1
  #counter = 0

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  next(): DocumentId {
    const now = this.#now()
    if (now > this.#ms) {
      this.#startMillisecond(now)
    } else if (this.#counter < MAX_COUNTER) {
      this.#counter += 1
    } else {
      // Section 6.2: a counter that is used up borrows the next millisecond.
      this.#startMillisecond(this.#ms + 1)
    }
    return { ms: this.#ms, counter: this.#counter, text: this.#format() }
  }

  /** Ids from now on are greater than every id of this millisecond: of a file that another run of the program wrote. */
  skip(ms: number): void {
    if (ms >= this.#ms) this.#startMillisecond(ms + 1)
  }

  #startMillisecond(ms: number): void {
    if (ms > MAX_MS) throw new NimbusError('internal', 'the clock is beyond what a document id can hold')
    this.#ms = ms
    this.#counter = random.uint16() & COUNTER_SEED_MASK
  }

  #format(): string {
    const time = this.#ms.toString(16).padStart(12, '0')
    const counter = this.#counter.toString(16).padStart(3, '0')
    const tail = random.hex(8)
    const variant = '89ab'.charAt(Number.parseInt(tail.charAt(0), 16) & 3)
    return `${time.slice(0, 8)}-${time.slice(8)}-7${counter}-${variant}${tail.slice(1, 4)}-${tail.slice(4)}`
  }
}

/** What orders an id, in either case of letters; `undefined` for anything that is not a UUID of version 7. */
export function parseDocumentId(text: string): DocumentId | undefined {
  const lower = text.toLowerCase()
  const parts = UUID_V7.exec(lower)
  if (parts === null) return undefined
  const [, high = '', low = '', counter = ''] = parts
  return { ms: Number.parseInt(high + low, 16), counter: Number.parseInt(counter, 16), text: lower }
}

/** Random bytes of the system, fetched a few hundred ids' worth at a time and never handed out twice. */
class RandomPool {
  #bytes = Buffer.alloc(0)
  #used = 0

  uint16(): number {
    const start = this.#take(2)
    return this.#bytes.readUInt16BE(start)
  }

  hex(count: number): string {
    const start = this.#take(count)
    return this.#bytes.toString('hex', start, start + count)
  }

  #take(count: number): number {
    if (this.#used + count > this.#bytes.length) {
      this.#bytes = Buffer.from(randomBytes(RANDOM_POOL_BYTES))
      this.#used = 0
    }
    const start = this.#used
    this.#used += count
    return start
  }
}

const random = new RandomPool()
