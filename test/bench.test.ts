/** What the benchmark concludes from its figures; the figures themselves are no matter of a test. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chart } from '../bench/chart.ts'
import { median, percentile } from '../bench/figures.ts'
import type { Outcome } from '../bench/measure.ts'
import { type Burst, cpu, rate } from '../bench/metrics.ts'
import { report } from '../bench/report.ts'
import { rows } from '../bench/rows.ts'
import { ratioOf, ratioToNginx, timesAlone } from '../bench/verdicts.ts'

const burst = (cpuSeconds: number, seconds = 1, latenciesMs = [1, 2, 3]): Burst => ({
  requests: 10,
  seconds,
  cpuSeconds,
  latenciesMs,
  peak: { treeBytes: 1, processBytes: 1 },
  loadCpuSeconds: 0.1,
})

const rowOf = (id: string) => {
  const row = rows.find((one) => one.id === id)
  if (row === undefined) throw new Error(`there is no row ${id}`)
  return row
}

const outcome: Outcome = {
  row: rowOf('P1'),
  rounds: [
    new Map([
      ['assetd', [burst(2)]],
      ['nginx', [burst(1)]],
      ['@fastify/multipart', [burst(3)]],
    ]),
    new Map([
      ['assetd', [burst(8)]],
      ['nginx', [burst(2)]],
      ['@fastify/multipart', [burst(5)]],
    ]),
    new Map([
      ['assetd', [burst(3)]],
      ['nginx', [burst(1)]],
      ['@fastify/multipart', [burst(3)]],
    ]),
  ],
}

test('medians and percentiles', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.equal(percentile([1, 2, 3, 4], 0.5), 2)
  assert.equal(percentile([1, 2, 3, 4], 0.99), 4)
})

test('a ratio is taken within each round, then its median and range', () => {
  assert.deepEqual(ratioOf(outcome, 'assetd', cpu), { median: 3, least: 2, most: 4 })
  assert.equal(ratioOf(outcome, 'tusd', cpu), null)
})

test('a verdict holds assetd against the best of the peers, whichever way is better', () => {
  assert.equal(ratioToNginx(outcome, cpu, 'at most', ['@fastify/multipart']).isMet, true)
  assert.equal(ratioToNginx(outcome, cpu, 'at most', ['@fastify/multipart'], 0.5).isMet, false)
  assert.equal(ratioToNginx(outcome, cpu, 'at most', ['nginx']).isMet, false)
  assert.equal(ratioToNginx(outcome, rate, 'at least', ['nginx', 'tusd']).isMet, true)
  assert.equal(ratioToNginx(outcome, cpu, 'at most', ['tusd']).isMet, null, 'nothing to compare with')
})

test('beside others: each work against the same work alone', () => {
  const alone = burst(1)
  const rounds = [new Map([['assetd', [alone, burst(1, 1, [9, 9, 9]), alone, burst(1, 1, [3, 3, 3])]]])]
  const judged = timesAlone({ row: rowOf('P7'), rounds }, 3)
  assert.equal(judged.isMet, true)
  assert.match(judged.text, /uploads 3 .* GET 1 /)
  assert.equal(timesAlone({ row: rowOf('P7'), rounds }, 2).isMet, false)
})

test('the report has a line for each server and names what was left out; the chart escapes what it is given', () => {
  const judged = rowOf('P1').verdict(outcome)
  const text = report([{ outcome, judged }], ['tusd: it is not installed'])
  for (const word of ['assetd', 'nginx', '@fastify/multipart', 'Left out: tusd', ': met'])
    assert.ok(text.includes(word), word)
  const svg = chart([outcome], 'a <machine> & more')
  assert.match(svg, /a &lt;machine> &amp; more/)
  assert.equal(svg.match(/<rect class="(ours|yardstick|peer)"/g)?.length, 3)
})
