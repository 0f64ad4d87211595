/**
 * What a power cut may leave of a directory, by a record of what a process did to the files in it (recorder.c).
 *
 * The device promises two things: after the sync of a file, its bytes as they were then; after the sync of a directory, the
 * names in it as they were then. Every change of a name since may have been lost, whatever became of those before and after
 * it; a file written since its last sync may hold what it held then, or what it holds now.
 */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'

const OPERATIONS = [
  'nameless',
  'create',
  'truncate',
  'write',
  'sync',
  'flush',
  'rename',
  'link',
  'remove',
  'say',
] as const
type Operation = (typeof OPERATIONS)[number]

export interface Recorded {
  readonly operation: Operation
  readonly inode: number
  readonly offset: number
  readonly path: string
  /** Of a rename, the new name. */
  readonly other: string
  readonly bytes: Buffer
}

/** The directory at one moment after the power came back. */
export interface PowerCut {
  readonly files: ReadonlyMap<string, Buffer>
  /** What the test had written into the record before, in order. */
  readonly said: readonly string[]
  /** The process had done all that it did. */
  readonly isEnd: boolean
  /** Where in the record, for messages. */
  readonly after: string
}

/** Locks hold nothing, and SQLite's index of the log is made anew by whoever opens the database first. */
const IGNORED = /(?:\.nimbus[-.]lock|-shm)$/
/** Of more than so many changes at once not every subset is tried: a step that syncs as it should has fewer. */
const MOST_TOGETHER = 6

export function parseRecord(log: Buffer): Recorded[] {
  const records: Recorded[] = []
  for (let at = 0; at < log.length;) {
    const end = log.indexOf('\n', at)
    const line = log.toString('utf8', at, end)
    const [, operation, inode, offset, length, from = '', other = ''] =
      /^(\w+) (\d+) (\d+) (\d+) ([^\t]*)\t(.*)$/.exec(line) ?? []
    const known = OPERATIONS.find((one) => one === operation)
    if (known === undefined) throw new Error(`not a record: ${line}`)
    at = end + 1 + (known === 'write' ? Number(length) : 0)
    if (IGNORED.test(from) || IGNORED.test(other)) continue
    const bytes = log.subarray(end + 1, at)
    records.push({ operation: known, inode: Number(inode), offset: Number(offset), path: from, other, bytes })
  }
  return records
}

/** Every state in which the next boot may find `directory`, each once. `before`: as it was when the record began. */
export function* powerCuts(before: Snapshot, records: readonly Recorded[]): Generator<PowerCut> {
  const disk = new Disk(before)
  const seen = new Set<string>()
  for (const [at, record] of [...records, undefined].entries()) {
    // Between two writes nothing else can be lost than before the first or after the second.
    if (record === undefined || !['write', 'truncate', 'nameless'].includes(record.operation)) {
      const last = records[at - 1]
      const after = last === undefined ? 'nothing' : `${at}: ${last.operation} ${last.path} ${last.other}`
      yield* disk.powerCuts({ isEnd: record === undefined, after }, seen)
    }
    if (record !== undefined) disk.apply(record)
  }
}

/** The files of a directory, durable, by path. */
export type Snapshot = ReadonlyMap<string, { readonly inode: number; readonly bytes: Buffer }>

export function snapshotOf(directory: string): Snapshot {
  const names = readdirSync(directory).filter((name) => !IGNORED.test(name))
  return new Map(
    names.map((name) => {
      const file = path.join(directory, name)
      return [file, { inode: statSync(file).ino, bytes: readFileSync(file) }]
    }),
  )
}

/** A file as it is and as it is sure to be; neither buffer is changed once it is here. */
class Inode {
  now: Content
  synced: Content

  constructor(bytes: Buffer) {
    this.now = new Content(bytes)
    this.synced = this.now
  }
}

class Content {
  readonly bytes: Buffer
  #digest: string | undefined

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get digest(): string {
    return (this.#digest ??= createHash('sha256').update(this.bytes).digest('base64'))
  }
}

/** `undefined`: the name is gone. */
interface Change {
  readonly path: string
  readonly inode: Inode | undefined
  /** Of a rename, the old name, which goes in the same step. */
  readonly from?: string
}

class Disk {
  readonly #inodes = new Map<number, Inode>()
  readonly #now = new Map<string, Inode>()
  #durable: Map<string, Inode>
  #pending: Change[] = []
  readonly #said: string[] = []

  constructor(before: Snapshot) {
    for (const [file, { inode, bytes }] of before) {
      const made = new Inode(bytes)
      this.#inodes.set(inode, made)
      this.#now.set(file, made)
    }
    this.#durable = new Map(this.#now)
  }

  apply({ operation, inode: number, offset, path: file, other, bytes }: Recorded): void {
    const inode = this.#inodes.get(number)
    switch (operation) {
      case 'nameless':
      case 'create': {
        const made = new Inode(Buffer.alloc(0))
        this.#inodes.set(number, made)
        if (operation === 'create') this.#change({ path: file, inode: made })
        return
      }
      case 'link':
        this.#change({ path: file, inode: known(inode, file) })
        return
      case 'rename':
        this.#change({ path: other, inode: known(this.#now.get(file), file), from: file })
        return
      case 'remove':
        this.#change({ path: file, inode: undefined })
        return
      case 'write':
        write(known(inode, file), offset, bytes)
        return
      case 'truncate': {
        const { now } = known(inode, file)
        known(inode, file).now = new Content(Buffer.concat([now.bytes, Buffer.alloc(offset)]).subarray(0, offset))
        return
      }
      case 'sync':
        if (inode === undefined) this.#syncDirectory(file)
        else inode.synced = inode.now
        return
      case 'flush':
        for (const each of this.#inodes.values()) each.synced = each.now
        this.#durable = new Map(this.#now)
        this.#pending = []
        return
      case 'say':
        this.#said.push(file)
    }
  }

  *powerCuts(where: Pick<PowerCut, 'isEnd' | 'after'>, seen: Set<string>): Generator<PowerCut> {
    const said = [...this.#said]
    for (const names of subsets(this.#pending).map((survivors) => changed(this.#durable, survivors))) {
      const unsynced = [...new Set(names.values())].filter(({ now, synced }) => now.digest !== synced.digest)
      for (const written of subsets(unsynced)) {
        const contents = [...names].map(
          ([file, inode]) => [file, written.includes(inode) ? inode.now : inode.synced] as const,
        )
        const key = contents.map(([file, { digest }]) => `${file} ${digest}`).sort()
        const state = JSON.stringify([key, said, where.isEnd])
        if (seen.has(state)) continue
        seen.add(state)
        yield { ...where, said, files: new Map(contents.map(([file, { bytes }]) => [file, bytes])) }
      }
    }
  }

  #change(change: Change): void {
    apply(this.#now, change)
    this.#pending.push(change)
  }

  #syncDirectory(directory: string): void {
    const isHere = (file: string): boolean => path.dirname(file) === directory
    const elsewhere = [...this.#durable].filter(([file]) => !isHere(file))
    this.#durable = new Map([...elsewhere, ...[...this.#now].filter(([file]) => isHere(file))])
    this.#pending = this.#pending.filter((change) => !isHere(change.path))
  }
}

function known(inode: Inode | undefined, file: string): Inode {
  if (inode === undefined) throw new Error(`the record knows nothing of ${file}`)
  return inode
}

function write(inode: Inode, offset: number, bytes: Buffer): void {
  const { now } = inode
  const grown = Buffer.alloc(Math.max(now.bytes.length, offset + bytes.length))
  now.bytes.copy(grown)
  bytes.copy(grown, offset)
  inode.now = new Content(grown)
}

function apply(names: Map<string, Inode>, { path: file, inode, from }: Change): void {
  if (from !== undefined) names.delete(from)
  if (inode === undefined) names.delete(file)
  else names.set(file, inode)
}

function changed(names: ReadonlyMap<string, Inode>, changes: readonly Change[]): Map<string, Inode> {
  const result = new Map(names)
  for (const change of changes) apply(result, change)
  return result
}

/** In their order; of many only those that have none, one, all but one, and all. */
function subsets<T>(items: readonly T[]): T[][] {
  if (items.length > MOST_TOGETHER) {
    return [[], [...items], ...items.flatMap((item) => [[item], items.filter((other) => other !== item)])]
  }
  return Array.from({ length: 2 ** items.length }, (_, chosen) => items.filter((_, at) => (chosen >> at) & 1))
}
