/** What a row is to reach, and whether it does. */
import { median, shown } from './figures.ts'
import type { Outcome, Work } from './measure.ts'
import { type Burst, type Metric, p99 } from './metrics.ts'

export type Judged = { text: string; isMet: boolean | null }
export type Verdict = (outcome: Outcome) => Judged

export type Ratio = { median: number; least: number; most: number }

/**
 * A server's figure ÷ nginx's of the same round: the median of the rounds and their range.
 * @returns null where one of the two did not take part
 */
export function ratioOf({ rounds }: Outcome, name: string, metric: Metric, work = 0): Ratio | null {
  const ratios = rounds.flatMap((round) => {
    const [ours, theirs] = [round.get(name)?.[work], round.get('nginx')?.[work]]
    return ours === undefined || theirs === undefined ? [] : [metric.of(ours) / metric.of(theirs)]
  })
  return spread(ratios)
}

/** The median of the rounds' figures, or null where the server did not take part. */
export function figureOf({ rounds }: Outcome, name: string, metric: Metric, work = 0): number | null {
  const figures = rounds.flatMap((round) => {
    const one = round.get(name)?.[work]
    return one === undefined ? [] : [metric.of(one)]
  })
  return figures.length === 0 ? null : median(figures)
}

function spread(values: readonly number[]): Ratio | null {
  if (values.length === 0) return null
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) }
}

/**
 * assetd beside the best of some peers, each against nginx in its own round.
 * @param times how much of the peer's figure is allowed
 */
export function ratioToNginx(
  outcome: Outcome,
  metric: Metric,
  bound: 'at most' | 'at least',
  peers: readonly string[],
  times = 1,
): Judged {
  const ours = ratioOf(outcome, 'assetd', metric)?.median
  const theirs = peers.flatMap((name) => {
    const ratio = ratioOf(outcome, name, metric)
    return ratio === null ? [] : [{ name, ratio: ratio.median }]
  })
  const best = theirs.toSorted((a, b) =>
    metric.better === 'less' ? a.ratio - b.ratio : b.ratio - a.ratio,
  )[0]
  if (ours === undefined || best === undefined)
    return { text: 'nothing to compare with took part', isMet: null }
  const limit = best.ratio * times
  const share = times === 1 ? '' : `${times} × `
  return {
    text: `${shown(ours)} × nginx’s, ${bound} ${share}${best.name}’s ${shown(best.ratio)}`,
    isMet: bound === 'at most' ? ours <= limit : ours >= limit,
  }
}

/** The highest memory of any round: of the service's own process, and of all that were started. */
export function peakOf({ rounds }: Outcome, maxBytes: number): Judged {
  const peaks = rounds.flatMap((round) => round.get('assetd') ?? []).map((burst) => burst.peak)
  if (peaks.length === 0) return { text: 'not measured', isMet: null }
  const service = Math.max(...peaks.map(({ processBytes }) => processBytes))
  const tree = Math.max(...peaks.map(({ treeBytes }) => treeBytes))
  const mebibytes = (bytes: number): string => `${shown(bytes / 1024 / 1024)} MiB`
  return {
    text: `${mebibytes(service)} for the service, ${mebibytes(tree)} with its launcher, at most ${mebibytes(maxBytes)}`,
    isMet: tree <= maxBytes,
  }
}

/** p99 of a work with others beside it ÷ the same work alone, for each pair of works. */
export function timesAlone({ row, rounds }: Outcome, maxTimes: number): Judged {
  const pairs = row.works.flatMap((work, at) => (work.beside === undefined ? [] : [{ work, at }]))
  const found = pairs.flatMap(({ work, at }) => {
    const ratio = spread(rounds.flatMap((round) => timesOf(round.get('assetd'), at)))
    return ratio === null ? [] : [{ work, ratio }]
  })
  if (found.length === 0) return { text: 'not measured', isMet: null }
  const told = found.map(({ work, ratio }) => `${wordOf(work)} ${shown(ratio.median)} (${shownRange(ratio)})`)
  return {
    text: `${told.join(', ')} times the p99 alone, at most ${maxTimes}`,
    isMet: found.every(({ ratio }) => ratio.median <= maxTimes),
  }
}

function timesOf(bursts: Burst[] | undefined, at: number): number[] {
  const [alone, beside] = [bursts?.[at - 1], bursts?.[at]]
  return alone === undefined || beside === undefined ? [] : [p99.of(beside) / p99.of(alone)]
}

function wordOf({ kind }: Work): string {
  return kind === 'get' ? 'GET' : 'uploads'
}

export function shownRange({ least, most }: Ratio): string {
  return `${shown(least)} to ${shown(most)}`
}
