/** The rounds as ratios, as a table or as JSON. */
import { availableParallelism, cpus } from 'node:os'
import { median, percentile, shown, table } from './figures.ts'
import { type Burst, MiB, memoryLoad, type Outcome, type Round } from './measure.ts'
import type { MemoryPeak } from './processes.ts'
import { findProgram } from './programs.ts'
import { versionOf } from './servers.ts'

const targets = { cpuRatio: 4.5, peakBytes: 300e6 }

type Measure = (burst: Burst, sizeBytes: number) => number

const cpuMs: Measure = (burst) => (1000 * burst.cpuSeconds) / burst.uploads
const rate: Measure = (burst) => burst.uploads / burst.seconds

const measures: Record<string, Measure> = {
  'CPU, ms per upload': cpuMs,
  'uploads/s': rate,
  'MiB/s': (burst, sizeBytes) => (rate(burst, sizeBytes) * sizeBytes) / MiB,
  'latency p50, ms': (burst) => percentile(burst.latenciesMs, 0.5),
  'latency p99, ms': (burst) => percentile(burst.latenciesMs, 0.99),
  'peak memory, MiB': (burst) => burst.peak.treeBytes / MiB,
}

type Figure = {
  assetd: number
  nginx: number | null
  ratio: { median: number; least: number; most: number } | null
}

/** Medians of the rounds, and of the ratios within each round. */
function figure({ workload, rounds }: Outcome, measure: Measure): Figure {
  const of = (burst: Burst): number => measure(burst, workload.sizeBytes)
  const assetd = median(rounds.map((round) => of(round.assetd)))
  const compared = rounds.flatMap((round) =>
    round.nginx === null ? [] : [{ theirs: of(round.nginx), ratio: of(round.assetd) / of(round.nginx) }],
  )
  if (compared.length === 0) return { assetd, nginx: null, ratio: null }
  const ratios = compared.map(({ ratio }) => ratio)
  return {
    assetd,
    nginx: median(compared.map(({ theirs }) => theirs)),
    ratio: { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
  }
}

type Summary = {
  title: string
  uploadsPerRound: number
  figures: Record<string, Figure>
  /** What share of all cores the load generator used, beside each server. */
  loadShare: { assetd: number; nginx: number | null }
}

function summarise(outcome: Outcome): Summary {
  const share = (burst: Burst): number => burst.loadCpuSeconds / burst.seconds / availableParallelism()
  const shares = figure(outcome, share)
  return {
    title: outcome.workload.title,
    uploadsPerRound: outcome.rounds[0]?.assetd.uploads ?? 0,
    figures: Object.fromEntries(
      Object.entries(measures).map(([name, measure]) => [name, figure(outcome, measure)]),
    ),
    loadShare: { assetd: shares.assetd, nginx: shares.nginx },
  }
}

function highest(rounds: readonly Round[]): MemoryPeak {
  const peaks = rounds.map(({ assetd }) => assetd.peak)
  return {
    processBytes: Math.max(...peaks.map(({ processBytes }) => processBytes)),
    treeBytes: Math.max(...peaks.map(({ treeBytes }) => treeBytes)),
  }
}

/** @param memory the outcome of `memoryLoad` */
export function report(outcomes: readonly Outcome[], memory: Outcome, asJson: boolean): string {
  const date = new Date().toISOString()
  const rounds = outcomes[0]?.rounds.length ?? 0
  const machine = describeMachine()
  const summaries = [...outcomes, memory].map(summarise)
  const peak = highest(memory.rounds)
  if (asJson) return JSON.stringify({ date, machine, rounds, targets, peak, summaries }, null, 2)
  return [
    `assetd beside nginx, rounds: ${rounds}, ${date.slice(0, 10)}: ${machine}`,
    'Medians of the rounds; the ratio is assetd ÷ nginx within one round: its median and range.',
    ...summaries.map(section),
    verdicts(outcomes, peak),
  ].join('\n\n')
}

function section({ title, uploadsPerRound, figures, loadShare }: Summary): string {
  const rows = Object.entries(figures).map(([name, { assetd, nginx, ratio }]) => [
    name,
    shown(assetd),
    nginx === null ? '-' : shown(nginx),
    ratio === null ? '-' : shown(ratio.median),
    ratio === null ? '-' : `${shown(ratio.least)} to ${shown(ratio.most)}`,
  ])
  const percent = (share: number | null): string => (share === null ? '-' : `${Math.round(100 * share)}%`)
  const load = ['load generator, of all cores', percent(loadShare.assetd), percent(loadShare.nginx), '', '']
  const head = [`${title}; ${uploadsPerRound} a round`, 'assetd', 'nginx', 'ratio', 'range']
  return table([head, ...rows, load])
}

function verdicts(outcomes: readonly Outcome[], peak: MemoryPeak): string {
  const word = (isMet: boolean): string => (isMet ? 'met' : 'MISSED')
  const cpu = outcomes.flatMap((outcome) => {
    const { ratio } = figure(outcome, cpuMs)
    if (ratio === null || outcome.workload.sizeBytes !== 32 * MiB) return []
    const { title } = outcome.workload
    return `CPU, ${title}: ${shown(ratio.median)} times nginx's, at most ${targets.cpuRatio}: ${word(ratio.median <= targets.cpuRatio)}`
  })
  const megabytes = (bytes: number): string => `${shown(bytes / MiB)} MiB`
  const memory = `Memory, ${memoryLoad.title}: ${megabytes(peak.treeBytes)}, of which the service ${megabytes(peak.processBytes)}, less than ${megabytes(targets.peakBytes)} (300 MB): ${word(peak.treeBytes < targets.peakBytes)}`
  return ['Targets', ...cpu, memory].join('\n')
}

function describeMachine(): string {
  const nginx = findProgram('nginx')
  const version = nginx === null ? 'no nginx' : (/nginx\/[\d.]+/.exec(versionOf(nginx))?.[0] ?? 'nginx')
  const cores = `${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'an unknown CPU'}`
  return `${cores}, Linux ${process.arch}, Node.js ${process.versions.node}, ${version}`
}
