/** Loaded into a process by NODE_OPTIONS: writes, as it ends, the KiB of memory that it had at most (VmHWM) to NIMBUS_TEST_PEAK. */
import { readFileSync, writeFileSync } from 'node:fs'

process.on('exit', () => {
  const [, peak] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
  writeFileSync(process.env.NIMBUS_TEST_PEAK, peak)
})
