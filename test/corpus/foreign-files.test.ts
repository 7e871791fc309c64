/**
 * Every file of other projects' test suites, past our judge: it never fails but by a refusal, says the same however it
 * is fed, costs little; and where `file` or `file-type` see a file differently, there is a reason for it.
 */
import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { isShort } from '../form.ts'
import { missing } from '../media/encode.ts'
import type { verdictOf } from '../media/judge.ts'
import { type RunningService, startService, upload } from '../service.ts'
import { costOf, limitMs } from './cost.ts'
import { type Disagreement, isAgreement, type Reason, reasons } from './disagreements.ts'
import { steadyVerdict } from './feeding.ts'
import { type Judge, type Ours, oursOf, saidByFile, saidByFileType } from './judges.ts'
import { fetchSources, fewPackages, keptIn, morePackages, type Source } from './packages.ts'

const sources = await fetchSources(isShort ? fewPackages : [...fewPackages, ...morePackages])
const lacking = Object.entries(Object.groupBy(sources.lacking, ({ why }) => why))
  .map(([why, these]) => `${these?.map(({ name }) => name).join(', ')}: ${why}`)
  .join('; ')
const skip = sources.found.length === 0 ? `none of the source packages can be had (${lacking})` : false

type Foreign = {
  package: string
  path: string
  at: string
  verdict: ReturnType<typeof verdictOf>
  ours: Ours
}

function pathsIn({ folder }: Source): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .filter((path) => lstatSync(join(folder, path)).isFile())
}

const foreign: Foreign[] = []

describe("other projects' files", { skip }, () => {
  test('what could not be fetched is told', (context) => {
    if (lacking !== '') context.diagnostic(`without ${lacking}`)
    assert.ok(sources.found.length > 0)
  })

  for (const source of sources.found) {
    test(`case 39: the files of ${source.name}: one verdict for each, in bounded CPU`, (context) => {
      let dearest = { path: '', beyondMs: 0 }
      for (const path of pathsIn(source)) {
        const at = join(source.folder, path)
        const content = readFileSync(at)
        const verdict = steadyVerdict(path, content)
        foreign.push({ package: source.name, path, at, verdict, ours: oursOf(verdict) })
        const { beyondMs } = costOf(content, 1)
        if (beyondMs > dearest.beyondMs) dearest = { path, beyondMs }
        assert.ok(beyondMs <= limitMs(), `${path}: ${beyondMs.toFixed(0)} ms of CPU`)
      }
      const { length } = foreign.filter((one) => one.package === source.name)
      assert.ok(length > 10)
      context.diagnostic(`${length} files, at most ${dearest.beyondMs.toFixed(1)} ms each (${dearest.path})`)
    })
  }

  test('case 39: where others judge differently, there is a reason', async (context) => {
    assert.ok(foreign.length > 1000)
    const opinions = new Map<Judge, (string | null)[]>()
    const absent = missing('file')
    if (absent === false) opinions.set('file', await saidByFile(foreign.map(({ at }) => at)))
    else context.diagnostic(absent)
    const said: (string | null)[] = []
    for (const { at } of foreign) said.push(await saidByFileType(readFileSync(at)))
    opinions.set('file-type', said)

    const used = new Set<Reason>()
    const listed: string[] = []
    const unexplained: string[] = []
    for (const [judge, answers] of opinions) {
      const tally = new Map<Reason | 'agreed', number>()
      for (const [index, one] of foreign.entries()) {
        const theirs = answers[index] ?? null
        const head = readFileSync(one.at).subarray(0, 1024)
        const reason = isAgreement(one.ours, theirs) ? 'agreed' : reasonOf({ ...one, judge, theirs, head })
        if (reason !== undefined) tally.set(reason, (tally.get(reason) ?? 0) + 1)
        if (reason === 'agreed') continue
        if (reason !== undefined) used.add(reason)
        const line = [
          judge,
          one.package,
          one.path,
          shownOurs(one.ours),
          theirs ?? 'unknown',
          reason?.why ?? '?',
        ]
        ;(reason === undefined ? unexplained : listed).push(line.join('\t'))
      }
      context.diagnostic(
        `${judge} agrees on ${tally.get('agreed')} of ${foreign.length} files; it differs on`,
      )
      for (const reason of reasons) {
        const count = tally.get(reason)
        if (count !== undefined) context.diagnostic(`  ${count}: ${reason.why}`)
      }
    }
    const list = join(keptIn(), 'disagreements.tsv')
    writeFileSync(list, `${[...unexplained, ...listed].join('\n')}\n`, { mode: 0o600 })
    context.diagnostic(`all of them, file by file, are in ${list}`)
    assert.deepEqual(unexplained, [])
    if (isShort || lacking !== '' || absent !== false) return
    const idle = reasons.filter((reason) => !used.has(reason)).map(({ why }) => why)
    assert.deepEqual(idle, [], 'reasons that nothing needs any more')
  })

  test('case 39: the score', (context) => {
    const tally: Record<string, number> = {}
    for (const { ours } of foreign) {
      const row = ours.finding === 'strange' ? 'none of the seven' : `${ours.finding} ${ours.mime}`
      tally[row] = (tally[row] ?? 0) + 1
    }
    for (const row of Object.keys(tally).toSorted()) context.diagnostic(`${tally[row]}: ${row}`)
    // The suites have enough of each that a judge which takes none, or all, would show.
    for (const mime of [
      'image/png',
      'image/jpeg',
      'video/webm',
      'audio/mpeg',
      'audio/wav',
      'application/pdf',
    ])
      assert.ok((tally[`whole ${mime}`] ?? 0) > 3, `${mime}: ${tally[`whole ${mime}`]} are accepted`)
  })
})

describe("other projects' files, through the door", { skip }, () => {
  let service: RunningService | undefined
  after(async () => void (await service?.stop()))

  test('case 39: a sample of them gets over HTTP the verdict that it has here', async (context) => {
    service = await startService()
    const notable = foreign.filter(({ ours }) => ours.finding === 'broken' || ours.finding === 'empty')
    const others = foreign.filter(({ ours }) => ours.finding === 'whole' || ours.finding === 'strange')
    const few = isShort ? 100 : 1000
    const sample = [...spread(notable, few), ...spread(others, few)]
    for (const { at, path, verdict } of sample) {
      const answer = await upload(service, at)
      if ('type' in verdict) {
        assert.equal(answer.status, 200, path)
        await answer.body?.cancel()
        continue
      }
      assert.equal(answer.status, 400, path)
      const { error } = (await answer.json()) as { error: { code: string; details: { reason: string } } }
      assert.deepEqual([error.code, error.details.reason], ['invalid_parameter', verdict.reason], path)
    }
    assert.equal(service.child.exitCode, null)
    context.diagnostic(`${sample.length} files`)
  })
})

function reasonOf(one: Disagreement): Reason | undefined {
  return reasons.find(({ fits }) => fits(one))
}

function shownOurs({ finding, mime }: Ours): string {
  const what = { whole: 'accepted', broken: 'damaged', strange: 'refused', empty: 'empty' }[finding]
  return `${what} ${mime ?? 'unknown'}`
}

/** About `few` of them, evenly. */
function spread<T>(all: readonly T[], few: number): T[] {
  const step = Math.max(1, all.length / few)
  return all.filter((_, at) => Math.floor(at / step) !== Math.floor((at - 1) / step))
}
