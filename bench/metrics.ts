/** What is told of a burst of requests. */
import { percentile } from './figures.ts'
import type { MemoryPeak } from './processes.ts'

export type Burst = {
  requests: number
  seconds: number
  cpuSeconds: number
  latenciesMs: number[]
  peak: MemoryPeak
  /** What the load generator used. */
  loadCpuSeconds: number
}

export type Metric = { name: string; better: 'less' | 'more'; of(burst: Burst): number }

export const cpu: Metric = {
  name: 'CPU, ms',
  better: 'less',
  of: (burst) => (1000 * burst.cpuSeconds) / burst.requests,
}
export const rate: Metric = { name: 'per s', better: 'more', of: (burst) => burst.requests / burst.seconds }
export const p50: Metric = {
  name: 'p50, ms',
  better: 'less',
  of: ({ latenciesMs }) => percentile(latenciesMs, 0.5),
}
export const p99: Metric = {
  name: 'p99, ms',
  better: 'less',
  of: ({ latenciesMs }) => percentile(latenciesMs, 0.99),
}
export const peak: Metric = {
  name: 'peak, MiB',
  better: 'less',
  of: (burst) => burst.peak.treeBytes / 1024 / 1024,
}

export const metrics: readonly Metric[] = [cpu, rate, p50, p99, peak]
