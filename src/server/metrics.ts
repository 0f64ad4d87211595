/** Counts what the server does, and writes it in the Prometheus text format 0.0.4. */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'

/** Upper bounds in seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const EVENT_LOOP_RESOLUTION_MS = 10

/** A number that is read when it is asked for. */
export interface Reading {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly value: number
}

interface RouteCounts {
  readonly method: string
  readonly route: string
  readonly byStatus: Map<number, number>
  readonly buckets: number[]
  seconds: number
  count: number
}

export class Metrics {
  readonly #routes = new Map<string, RouteCounts>()
  readonly #eventLoop: IntervalHistogram

  constructor() {
    this.#eventLoop = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS })
    this.#eventLoop.enable()
  }

  /** `route` is the pattern, never the path: the labels must stay few and carry no ids. */
  observe(method: string, route: string, status: number, milliseconds: number): void {
    const counts = this.#countsOf(method, route)
    counts.byStatus.set(status, (counts.byStatus.get(status) ?? 0) + 1)
    const seconds = milliseconds / 1000
    counts.seconds += seconds
    counts.count++
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound)
    if (bucket !== -1) counts.buckets[bucket] = (counts.buckets[bucket] ?? 0) + 1
  }

  /** The whole text. The event-loop delays are those since the previous call. */
  text(readings: readonly Reading[]): string {
    const lines = [...this.#requestLines(), ...this.#latencyLines(), ...this.#eventLoopLines()]
    for (const { name, help, type, value } of readings) lines.push(...header(name, help, type), `${name} ${value}`)
    return `${lines.join('\n')}\n`
  }

  close(): void {
    this.#eventLoop.disable()
  }

  #countsOf(method: string, route: string): RouteCounts {
    const key = `${method} ${route}`
    const known = this.#routes.get(key)
    if (known !== undefined) return known
    const buckets = BUCKETS.map(() => 0)
    const counts = { method, route, byStatus: new Map<number, number>(), buckets, seconds: 0, count: 0 }
    this.#routes.set(key, counts)
    return counts
  }

  #requestLines(): string[] {
    const name = 'nimbus_http_requests_total'
    const lines = header(name, 'Requests answered, by method, route pattern and status.', 'counter')
    for (const { method, route, byStatus } of this.#routes.values()) {
      for (const [status, count] of byStatus) {
        lines.push(`${name}{method="${method}",route="${route}",status="${status}"} ${count}`)
      }
    }
    return lines
  }

  #latencyLines(): string[] {
    const name = 'nimbus_http_request_duration_seconds'
    const lines = header(name, 'From the head of a request to the end of its answer.', 'histogram')
    for (const { method, route, buckets, seconds, count } of this.#routes.values()) {
      const labels = `method="${method}",route="${route}"`
      let upTo = 0
      for (const [index, bound] of BUCKETS.entries()) {
        upTo += buckets[index] ?? 0
        lines.push(`${name}_bucket{${labels},le="${bound}"} ${upTo}`)
      }
      lines.push(`${name}_bucket{${labels},le="+Inf"} ${count}`)
      lines.push(`${name}_sum{${labels}} ${seconds}`, `${name}_count{${labels}} ${count}`)
    }
    return lines
  }

  #eventLoopLines(): string[] {
    const name = 'nimbus_event_loop_delay_seconds'
    const help = 'How late the event loop came to a timer since the previous scrape; quantile 1 is the largest.'
    const lines = header(name, help, 'gauge')
    for (const quantile of [0.5, 0.99, 1]) {
      lines.push(`${name}{quantile="${quantile}"} ${this.#delaySeconds(quantile)}`)
    }
    this.#eventLoop.reset()
    return lines
  }

  /** The histogram holds the time between two timers: what exceeds the timer's own interval is delay. */
  #delaySeconds(quantile: number): number {
    if (this.#eventLoop.count === 0) return 0
    const nanoseconds = quantile === 1 ? this.#eventLoop.max : this.#eventLoop.percentile(quantile * 100)
    return Math.max(0, nanoseconds - EVENT_LOOP_RESOLUTION_MS * 1e6) / 1e9
  }
}

function header(name: string, help: string, type: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`]
}
