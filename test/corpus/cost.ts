/**
 * What judging a file costs in CPU beyond one native pass over the same bytes (a CRC-32). Other programs on the
 * machine make every run slower and none faster, so the best of several runs is taken of each, in turns.
 */
import { crc32 } from 'node:zlib'
import { Fault } from '../../src/errors.ts'
import { createInspector } from '../../src/intake/container/inspector.ts'
import { allTypes } from '../media/judge.ts'

const sliceBytes = 65_536
const mebibyte = 2 ** 20

/** The most that is allowed, on a machine that needs `usualMsPerMiB` for the native pass; a slower one gets more. */
const allowedMs = 50
const usualMsPerMiB = 0.4

const cpuMs = (work: () => void): number => {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

const slicesOf = (file: Buffer, look: (slice: Buffer) => void): void => {
  for (let at = 0; at < file.length; at += sliceBytes) look(file.subarray(at, at + sliceBytes))
}

function judge(file: Buffer): void {
  const inspector = createInspector({ allowed: allTypes })
  try {
    slicesOf(file, inspector.write)
    inspector.end()
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown
  }
}

function nativePass(file: Buffer): void {
  let sum = 0
  slicesOf(file, (slice) => {
    sum = crc32(slice, sum)
  })
}

/**
 * Milliseconds that are allowed on this machine as it is now.
 * @param nativeMs what the native pass took meanwhile, for a machine that gets slower while it is measured
 */
export function limitMs(nativeMs = 0, bytes = 32 * mebibyte): number {
  if (usual === undefined) {
    const zeros = Buffer.alloc(32 * mebibyte, 'native')
    const runs = Array.from({ length: 5 }, () => cpuMs(() => nativePass(zeros)))
    usual = Math.min(...runs) / 32
  }
  // Of a small file the pass is over before there is anything to measure.
  const meanwhile = bytes < mebibyte ? 0 : nativeMs / (bytes / mebibyte)
  return allowedMs * Math.max(1, usual / usualMsPerMiB, meanwhile / usualMsPerMiB)
}

let usual: number | undefined

export type Cost = { judgingMs: number; nativeMs: number; beyondMs: number; beyondMsPerMiB: number }

/** @param atLeast how many runs there are, and more of them, up to 60, while the cost is above the limit */
export function costOf(file: Buffer, atLeast = 5): Cost {
  let judgingMs = Number.POSITIVE_INFINITY
  let nativeMs = Number.POSITIVE_INFINITY
  for (
    let run = 0;
    run < atLeast || (run < 60 && judgingMs - nativeMs > limitMs(nativeMs, file.length));
    run++
  ) {
    judgingMs = Math.min(
      judgingMs,
      cpuMs(() => judge(file)),
    )
    nativeMs = Math.min(
      nativeMs,
      cpuMs(() => nativePass(file)),
    )
  }
  const beyondMs = Math.max(0, judgingMs - nativeMs)
  return { judgingMs, nativeMs, beyondMs, beyondMsPerMiB: beyondMs / (file.length / mebibyte) }
}
