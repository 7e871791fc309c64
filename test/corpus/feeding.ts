/** One file fed in many ways: whatever the slices, the verdict must be the same to the last word. */
import assert from 'node:assert/strict'
import { Fault } from '../../src/errors.ts'
import { createInspector } from '../../src/intake/container/inspector.ts'
import { allTypes, verdictOf } from '../media/judge.ts'

/** Numbers from 0 to 1 that are the same in every run, so that a failure can be repeated (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** In slices of 1 to `mostBytes` bytes, mostly small ones. */
function inRandomSlices(file: Buffer, random: () => number, mostBytes: number): unknown {
  const inspector = createInspector({ allowed: allTypes })
  try {
    for (let at = 0; at < file.length; ) {
      const bytes = 1 + Math.floor(random() ** 3 * mostBytes)
      inspector.write(Buffer.from(file.subarray(at, at + bytes)))
      at += bytes
    }
    return inspector.end()
  } catch (thrown) {
    assert.ok(thrown instanceof Fault, `threw ${String(thrown)}`)
    return { reason: thrown.details?.reason, detected: thrown.details?.detected, message: thrown.message }
  }
}

/**
 * Fed whole, in random slices, and byte by byte where it is not larger than `bytewiseBytes`.
 * @returns the verdict that all of them gave
 */
export function steadyVerdict(
  name: string,
  file: Buffer,
  bytewiseBytes = 65_536,
): ReturnType<typeof verdictOf> {
  const whole = verdictOf(file, { sliceBytes: Math.max(1, file.length) })
  const random = seeded(file.length)
  for (const most of file.length > 2 ** 20 ? [65_536] : [20, 4_000]) {
    assert.deepEqual(inRandomSlices(file, random, most), whole, `${name}, in slices of up to ${most} bytes`)
  }
  if (file.length <= bytewiseBytes) {
    assert.deepEqual(verdictOf(file, { sliceBytes: 1 }), whole, `${name}, byte by byte`)
  }
  return whole
}
