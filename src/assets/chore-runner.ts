/** Runs what one copy of the service does for all of them: each piece under a lease, which another takes when it ends. */
import { randomName } from '../asset.ts'
import type { Clock } from '../clock.ts'
import { claimChore, isChoreDue, setChoreDue } from '../records/chores.ts'
import type { Database } from '../records/database.ts'

export type ChoreRunnerOptions = { database: Database; clock: Clock; leaseMs: number }

export interface ChoreRunner {
  /**
   * Does the work unless a copy has done it within the period, or is at it.
   * @returns false where it did not
   * @throws what the work throws; it is due again after its period all the same
   */
  runIfDue(name: string, periodMs: number, work: () => Promise<void>): Promise<boolean>
}

/** Each copy asks once in a period: one that asks a moment too early must not let a whole period go by. */
const early = 0.9

export function createChoreRunner({ database, clock, leaseMs }: ChoreRunnerOptions): ChoreRunner {
  return {
    async runIfDue(name, periodMs, work) {
      const token = randomName()
      const nowMs = clock.steadyMs()
      const due = { nowMs, periodMs }
      if (!(await isChoreDue(database, name, due))) return false // asking costs less than a claim that is lost
      const claimed = await database.write([claimChore(database, name, token, due, nowMs + leaseMs)])
      if (!claimed.written) return false
      const setDue = (atMs: number) => database.write([setChoreDue(database, name, token, atMs)])
      const renewal = setInterval(
        () => setDue(clock.steadyMs() + leaseMs).catch(() => {}),
        leaseMs / 3,
      ).unref()
      try {
        await work()
      } finally {
        clearInterval(renewal)
        await setDue(nowMs + Math.floor(periodMs * early))
      }
      return true
    },
  }
}
