/** Files made to hurt: what is made of each, whatever the slices, and that none costs more than its budget. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { mediaTypeNames } from '../../src/asset.ts'
import { Fault } from '../../src/errors.ts'
import { createInspector } from '../../src/intake/container/inspector.ts'
import { type Hostile, hostileFiles } from '../media/hostile.ts'
import { allTypes, inShort } from '../media/judge.ts'
import { polyglots } from '../media/polyglots.ts'
import { samples } from '../media/samples.ts'
import { mostBytes, worstFiles } from '../media/worst.ts'
import { costOf, limitMs } from './cost.ts'
import { steadyVerdict } from './feeding.ts'

const mebibyte = 2 ** 20

function check({ name, verdict }: Omit<Hostile, 'build'>, file: Buffer): void {
  const steady = steadyVerdict(name, file)
  assert.equal('type' in steady ? steady.type : `${steady.reason} ${steady.detected}`, verdict, name)
}

describe('files that lie or blow up', () => {
  for (const hostile of hostileFiles) {
    test(`case 38: ${hostile.name}: ${hostile.verdict}`, () => {
      const file = hostile.build()
      check(hostile, file)
      const { beyondMs } = costOf(file, 1)
      assert.ok(beyondMs <= limitMs(), `${beyondMs.toFixed(0)} ms of CPU`)
    })
  }
})

describe('polyglots', () => {
  const all = polyglots((name) => `ran("${name}")`)

  test('case 37: there are all pairs of host and guest', () => {
    assert.ok(all.length > 150)
    assert.equal(new Set(all.map(({ name }) => name)).size, all.length)
  })

  for (const one of all) {
    test(`case 37: ${one.name}: ${one.verdict}`, () => check(one, one.file))
  }

  for (const { name, file, isScript } of all) {
    if (isScript !== true) continue
    test(`case 37: the ${name} is a script indeed`, () => {
      const ran: string[] = []
      runInNewContext(file.toString('latin1'), { ran: (what: string) => ran.push(what) })
      assert.deepEqual(ran, [name])
    })
  }
})

describe('32 MiB', () => {
  for (const [name, { build, verdict, says }] of Object.entries(worstFiles)) {
    test(`case 38: ${name}: refused, and its CPU is bounded`, (context) => {
      const file = build()
      assert.equal(file.length, mostBytes)
      const steady = steadyVerdict(name, file)
      assert.ok('reason' in steady, `accepted: ${JSON.stringify(steady)}`)
      assert.equal(`${steady.reason} ${steady.detected}`, verdict)
      assert.match(steady.message, new RegExp(says))
      const cost = costOf(file)
      context.diagnostic(
        `${cost.beyondMs.toFixed(0)} ms beyond the native pass of ${cost.nativeMs.toFixed(0)} ms, ` +
          `${cost.beyondMsPerMiB.toFixed(2)} ms per MiB`,
      )
      const allowed = limitMs(cost.nativeMs)
      assert.ok(
        cost.beyondMs <= allowed,
        `${cost.beyondMs.toFixed(0)} ms, and ${allowed.toFixed(0)} are allowed`,
      )
    })
  }

  for (const type of mediaTypeNames) {
    test(`case 34: ${type} of exactly 32 MiB is accepted, and its CPU is bounded`, () => {
      const file = samples[type]({ sizeBytes: mostBytes })
      assert.equal(inShort(file), type)
      const { beyondMs, nativeMs } = costOf(file)
      assert.ok(beyondMs <= limitMs(nativeMs), `${beyondMs.toFixed(0)} ms`)
    })
  }
})

describe('memory', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void

  /** The most bytes that were held at any of eight places on the way through the file. */
  function mostHeld(file: Buffer): number {
    const inspector = createInspector({ allowed: allTypes })
    const held = (): number => {
      collect()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const before = held()
    let most = 0
    try {
      for (let at = 0; at < file.length; at += 65_536) {
        inspector.write(file.subarray(at, at + 65_536))
        if (at % (4 * mebibyte) === 0) most = Math.max(most, held() - before)
      }
      inspector.end()
    } catch (thrown) {
      assert.ok(thrown instanceof Fault)
    }
    return Math.max(most, held() - before)
  }

  test('case 38: no file of 32 MiB makes the inspector hold more than a mebibyte', () => {
    for (const [name, { build }] of Object.entries(worstFiles)) {
      const most = mostHeld(build())
      assert.ok(most < mebibyte, `${name}: ${most} bytes`)
    }
    for (const type of mediaTypeNames) {
      const most = mostHeld(samples[type]({ sizeBytes: mostBytes }))
      assert.ok(most < mebibyte, `${type}: ${most} bytes`)
    }
  })
})
