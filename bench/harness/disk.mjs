/** How long this disk takes to make an append durable: group commit gains the more, the longer that is. */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { median } from './statistics.mjs'

/** Median milliseconds of a 4 KiB append and its fdatasync in `folder`. */
export function durableAppendMs(folder) {
  const file = `${folder}/append`
  const descriptor = openSync(file, 'w')
  const page = Buffer.alloc(4096, 1)
  const times = Array.from({ length: 300 }, () => {
    writeSync(descriptor, page)
    const startedAt = performance.now()
    fdatasyncSync(descriptor)
    return performance.now() - startedAt
  })
  closeSync(descriptor)
  rmSync(file)
  return median(times)
}
