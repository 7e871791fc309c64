/**
 * The clock of the database, which all copies of the service have in common: leases and expiries are by it, so a copy
 * whose own clock is wrong by hours breaks nothing. It is asked every so often, and in between goes on with the steady
 * clock of this machine, so that no query has to wait for it.
 */
import type { Clock } from '../clock.ts'

export type SharedClock = Clock & {
  /** Asks again now. */
  sync(): Promise<void>
  close(): void
}

const everyMs = 10_000
/** An answer that took longer says too little about now, unless there has been none for long. */
const slowMs = 200
const oldMs = 60_000
/** More than any answer is off by; less than anybody sets a clock back for. */
const momentMs = 1_000

/**
 * @param ask gives the database's time in unix milliseconds
 * @param steady milliseconds of a clock that never goes back
 * @throws what `ask` throws at the start; later on the last answer goes on to count
 */
export async function openSharedClock(
  ask: () => Promise<number>,
  steady: () => number = () => performance.now(),
): Promise<SharedClock> {
  let offsetMs = 0
  let askedAtMs = Number.NEGATIVE_INFINITY
  const sync = async (): Promise<void> => {
    const before = steady()
    const answer = await ask()
    const after = steady()
    if (after - before > slowMs && after - askedAtMs < oldMs) return
    offsetMs = answer - (before + after) / 2
    askedAtMs = after
  }
  await sync()
  await sync() // the first answer came late by the time that a connection takes
  const timer = setInterval(() => sync().catch(() => {}), everyMs).unref()
  let latestMs = 0
  /** What is only put right by a moment never goes back: assets are listed by when they were completed. */
  const nowMs = (): number => {
    const now = Math.floor(steady() + offsetMs)
    const isPutRight = now < latestMs && latestMs - now < momentMs
    if (!isPutRight) latestMs = now
    return latestMs
  }
  return { wallMs: nowMs, steadyMs: nowMs, sync, close: () => clearInterval(timer) }
}
