/** Loaded into a measured process: writes, as it ends, the KiB of memory that it had at most (VmHWM, proc_pid_status(5)). */
import { readFileSync, writeFileSync } from 'node:fs'

process.on('exit', () => {
  const peak = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  writeFileSync(process.env.NIMBUS_BENCH_PEAK_FILE, peak)
})
