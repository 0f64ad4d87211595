/** The numbers of /metrics that are read rather than counted: tenants, admission, memory, process. */
import { lockedMemory } from '../native.js'
import type { TenantProvider } from '../tenants/contract.js'
import type { Admission } from './admission.js'
import type { Reading } from './metrics.js'

export function readReadings(tenants: TenantProvider, admission: Admission): Reading[] {
  return [...tenantReadings(tenants), ...admissionReadings(admission), ...memoryReadings(), ...processReadings()]
}

function tenantReadings(provider: TenantProvider): Reading[] {
  const { tenants, openTenants, commits, requests, queued, queuedBytes } = provider.stats()
  return [
    gauge('nimbus_tenants', 'Tenants that exist.', tenants),
    gauge('nimbus_open_tenants', 'Tenants whose database is open.', openTenants),
    counter(
      'nimbus_group_commits_total',
      'Durable transactions; each carries the writes of one or more requests.',
      commits,
    ),
    counter('nimbus_writes_total', 'Write requests that were committed or refused.', requests),
    gauge('nimbus_queued_writes', 'Write requests that wait for a commit.', queued),
    gauge('nimbus_queued_write_bytes', 'Bytes of those.', queuedBytes),
  ]
}

function admissionReadings({ requests, bodyBytes, answerBytes, shed }: Admission): Reading[] {
  return [
    gauge('nimbus_http_requests_in_flight', 'Requests admitted and not answered yet.', requests),
    gauge('nimbus_http_body_bytes', 'Bytes of their bodies.', bodyBytes),
    gauge('nimbus_http_answer_bytes', 'Bytes of large answers that wait for their reader.', answerBytes),
    counter('nimbus_http_requests_shed_total', 'Requests refused with 503 because of too much work.', shed),
  ]
}

function memoryReadings(): Reading[] {
  const { lockedBytes, limitBytes } = lockedMemory()
  const readings = [gauge('nimbus_locked_memory_bytes', 'Memory that is locked for keys.', lockedBytes)]
  if (limitBytes !== null)
    readings.push(gauge('nimbus_locked_memory_limit_bytes', 'The limit of locked memory.', limitBytes))
  return readings
}

function processReadings(): Reading[] {
  const { rss, heapUsed, external } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  const startedAt = (Date.now() - process.uptime() * 1000) / 1000
  return [
    gauge('process_resident_memory_bytes', 'Resident memory.', rss),
    gauge('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', heapUsed),
    gauge('nodejs_external_memory_bytes', 'Memory of buffers outside the heap.', external),
    counter('process_cpu_seconds_total', 'CPU time, user and system.', (user + system) / 1e6),
    gauge('process_start_time_seconds', 'Start of the process, seconds since 1970-01-01 UTC.', startedAt),
  ]
}

function gauge(name: string, help: string, value: number): Reading {
  return { name, help, type: 'gauge', value }
}

function counter(name: string, help: string, value: number): Reading {
  return { name, help, type: 'counter', value }
}
