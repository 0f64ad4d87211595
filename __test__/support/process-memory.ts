/** Looks for bytes in the memory of another process, by what the kernel does with that memory. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

/** A range of a process's memory, with the flags that say what the kernel does with it (proc(5), `smaps`, "VmFlags"). */
interface Mapping {
  readonly start: number
  readonly end: number
  readonly name: string
  readonly flags: ReadonlySet<string>
}

function mappingsOf(pid: number): Mapping[] {
  const entries = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  return entries.flatMap((entry) => {
    const [, start = '', end = '', access = '', name = ''] = /^(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)/.exec(entry) ?? []
    if (!access.startsWith('r') || name === '[vvar]' || name === '[vsyscall]') return []
    const flags = new Set(/^VmFlags: (.*)$/m.exec(entry)?.[1]?.trim().split(' '))
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), name, flags }]
  })
}

/** The mappings of the process that hold these bytes. */
export function holders(pid: number, wanted: Buffer): Mapping[] {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const chunk = Buffer.alloc(4 << 20)
  try {
    return mappingsOf(pid).filter(({ start, end }) => {
      for (let at = start; at < end; at += chunk.length - wanted.length) {
        const count = readSafely(memory, chunk, Math.min(chunk.length, end - at), at)
        if (chunk.subarray(0, count).includes(wanted)) return true
      }
      return false
    })
  } finally {
    closeSync(memory)
  }
}

/** 0 for memory that even its owner may not read. */
function readSafely(memory: number, into: Buffer, length: number, at: number): number {
  try {
    return readSync(memory, into, 0, length, at)
  } catch {
    return 0
  }
}
