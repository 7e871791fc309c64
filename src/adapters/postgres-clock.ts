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
  const timer = setInterval(() => sync().catch(() => {}), everyMs).unref()
  const nowMs = (): number => Math.floor(steady() + offsetMs)
  return { wallMs: nowMs, steadyMs: nowMs, sync, close: () => clearInterval(timer) }
}
