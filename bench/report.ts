/** The rounds as tables and verdicts, or as JSON. */
import { availableParallelism, cpus } from 'node:os'
import { median, shown, table } from './figures.ts'
import type { Outcome } from './measure.ts'
import { type Burst, type Metric, metrics } from './metrics.ts'
import { versionOf } from './peers/nginx.ts'
import { findProgram } from './programs.ts'
import { figureOf, type Judged, ratioOf, shownRange } from './verdicts.ts'

export type Judgement = { outcome: Outcome; judged: Judged }

export function report(judgements: readonly Judgement[], missing: readonly string[]): string {
  const rounds = judgements[0]?.outcome.rounds.length ?? 0
  return [
    `Rounds: ${rounds}, ${new Date().toISOString().slice(0, 10)}: ${describeMachine()}`,
    'Medians of the rounds; the ratio is to nginx within one round, its median and its range.',
    ...missing.map((line) => `Left out: ${line}`),
    ...judgements.map(({ outcome }) => section(outcome)),
    ['What was to be reached', ...judgements.map(verdictLine)].join('\n'),
  ].join('\n\n')
}

export function verdictLine({ outcome, judged }: Judgement): string {
  const word = judged.isMet === null ? '' : judged.isMet ? ': met' : ': MISSED'
  return `${outcome.row.id}  ${outcome.row.title}, ${outcome.row.figure.name}: ${judged.text}${word}`
}

function section(outcome: Outcome): string {
  const { row } = outcome
  return row.works
    .map((work, at) => {
      const requests = [...(outcome.rounds[0]?.values() ?? [])][0]?.[at]?.requests ?? 0
      const title = work.title === undefined ? row.title : `${row.title}: ${work.title}`
      const head = ['', ...metrics.map(({ name }) => name)]
      const ratioHead = `${row.figure.name.split(',')[0]} ÷ nginx’s`
      const lines = namesIn(outcome).map((name) => lineOf(outcome, name, at))
      const figures = table([[...head, ratioHead, 'range', 'load'], ...lines])
      return `${row.id}  ${title}; ${requests} a round\n${figures}`
    })
    .join('\n\n')
}

/** In the order of the first round's servers, assetd first. */
export function namesIn({ rounds }: Outcome): string[] {
  const names = [...(rounds[0]?.keys() ?? [])].toSorted()
  const order = ['assetd', 'nginx']
  const place = (name: string): number => (order.indexOf(name) + order.length + 1) % (order.length + 1)
  return names.toSorted((a, b) => place(a) - place(b))
}

function lineOf(outcome: Outcome, name: string, at: number): string[] {
  const ratio = ratioOf(outcome, name, outcome.row.figure, at)
  const load = figureOf(outcome, name, loadShare, at) ?? Number.NaN
  return [
    name,
    ...metrics.map((metric) => shown(figureOf(outcome, name, metric, at) ?? Number.NaN)),
    ratio === null ? '-' : shown(ratio.median),
    ratio === null ? '-' : shownRange(ratio),
    `${Math.round(100 * load)}%`,
  ]
}

/** How much of all cores the load generator took. */
const loadShare: Metric = {
  name: 'load',
  better: 'less',
  of: (burst: Burst) => burst.loadCpuSeconds / burst.seconds / availableParallelism(),
}

export function asJson(judgements: readonly Judgement[], missing: readonly string[]): string {
  const rows = judgements.map(({ outcome, judged }) => ({
    id: outcome.row.id,
    title: outcome.row.title,
    ...judged,
    works: outcome.row.works.map((work, at) => ({
      ...work,
      servers: Object.fromEntries(
        namesIn(outcome).map((name) => [
          name,
          Object.fromEntries(
            metrics.map((metric) => [
              metric.name,
              { figure: figureOf(outcome, name, metric, at), toNginx: ratioOf(outcome, name, metric, at) },
            ]),
          ),
        ]),
      ),
    })),
  }))
  const rounds = median(judgements.map(({ outcome }) => outcome.rounds.length))
  return JSON.stringify(
    { date: new Date().toISOString(), machine: describeMachine(), rounds, missing, rows },
    null,
    2,
  )
}

export function describeMachine(): string {
  const nginx = findProgram('nginx')
  const version = nginx === null ? 'no nginx' : (/nginx\/[\d.]+/.exec(versionOf(nginx))?.[0] ?? 'nginx')
  const cores = `${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'an unknown CPU'}`
  return `${cores}, Linux ${process.arch}, Node.js ${process.versions.node}, ${version}`
}
