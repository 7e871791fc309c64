/** The rows that have one figure for each server, as bars in an SVG that suits a light page and a dark one. */
import { shown } from './figures.ts'
import type { Outcome } from './measure.ts'
import { namesIn } from './report.ts'
import { type Ratio, ratioOf, shownRange } from './verdicts.ts'

const width = 800
const left = 150
const right = 170
const barHeight = 16
const lineHeight = 24
const headHeight = 46

type Bar = { name: string; ratio: Ratio }

/** @param machine what it was measured on, for the last line */
export function chart(outcomes: readonly Outcome[], machine: string): string {
  const parts: string[] = []
  let top = 40
  for (const outcome of outcomes) {
    const bars = barsOf(outcome)
    // A row of a few, or of several works, is no comparison of one figure.
    if (bars.length < 2 || outcome.row.works.length > 1 || outcome.row.only !== undefined) continue
    parts.push(section(outcome, bars, top))
    top += headHeight + bars.length * lineHeight + 14
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top + 20}" role="img" aria-label="assetd beside its peers">`,
    style,
    `<rect class="page" width="${width}" height="${top + 20}"/>`,
    text(16, 26, 'title', 'assetd beside what one would pick instead; nginx is 1'),
    ...parts,
    text(16, top + 6, 'note', `${machine}. npm run bench; medians, and the range as a line.`),
    '</svg>',
    '',
  ].join('\n')
}

function barsOf(outcome: Outcome): Bar[] {
  const { figure } = outcome.row
  const bars = namesIn(outcome).flatMap((name) => {
    const ratio = ratioOf(outcome, name, figure)
    return ratio === null ? [] : [{ name, ratio }]
  })
  const sign = figure.better === 'less' ? 1 : -1
  return bars.toSorted((a, b) => sign * (a.ratio.median - b.ratio.median))
}

function section({ row }: Outcome, bars: readonly Bar[], top: number): string {
  const most = Math.max(...bars.map(({ ratio }) => ratio.median))
  const scale = (width - left - right) / most
  const what = row.figure.better === 'less' ? 'less is better' : 'more is better'
  const head = text(16, top + 24, 'head', `${row.id}  ${row.title}`)
  const unit = text(16, top + 40, 'note', `${row.figure.name.split(',')[0]} ÷ nginx’s, ${what}`)
  const lines = bars.map((bar, at) => lineOf(bar, top + headHeight + at * lineHeight, scale))
  return [head, unit, ...lines].join('\n')
}

function lineOf({ name, ratio }: Bar, top: number, scale: number): string {
  const middle = top + barHeight / 2
  const at = (value: number): number => left + Math.min(value * scale, width - left - right + 20)
  const kind = name === 'assetd' ? 'ours' : name === 'nginx' ? 'yardstick' : 'peer'
  return [
    `<text class="name" x="${left - 8}" y="${middle + 4}" text-anchor="end">${escaped(name)}</text>`,
    `<rect class="${kind}" x="${left}" y="${top}" width="${round(Math.max(1, ratio.median * scale))}" height="${barHeight}" rx="2"/>`,
    `<line class="range" x1="${round(at(ratio.least))}" x2="${round(at(ratio.most))}" y1="${middle}" y2="${middle}"/>`,
    text(
      round(at(Math.max(ratio.median, ratio.most)) + 8),
      middle + 4,
      'name',
      name === 'nginx' ? '1' : `${shown(ratio.median)} (${shownRange(ratio)})`,
    ),
  ].join('\n')
}

function text(x: number, y: number, kind: string, words: string): string {
  return `<text class="${kind}" x="${x}" y="${y}">${escaped(words)}</text>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

const style = `<style>
  text { font-family: system-ui, sans-serif; fill: #1f2328 }
  .page { fill: #ffffff }
  .title { font-size: 16px; font-weight: 600 }
  .head { font-size: 13px; font-weight: 600 }
  .name { font-size: 12px }
  .note { font-size: 11px; fill: #59636e }
  .ours { fill: #0b7a4b }
  .yardstick { fill: #6e7781 }
  .peer { fill: #b6c2cf }
  .range { stroke: #1f2328; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .page { fill: #0d1117 }
    .note { fill: #9198a1 }
    .ours { fill: #3fb27f }
    .peer { fill: #47525f }
    .range { stroke: #e6edf3 }
  }
</style>`
