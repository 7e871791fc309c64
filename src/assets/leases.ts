/**
 * What this process has under way: leases that are renewed while the work runs, and endings that failed and are tried
 * again. Who holds no lease any more is taken for dead, and others take its work over.
 */
import type { Clock } from '../clock.ts'
import type { Database, Step } from '../records/database.ts'

export interface Leases {
  /** This run of the service: what another run holds is abandoned. */
  readonly serviceId: string
  /** When a lease that is taken or renewed now ends, by the steady clock. */
  untilMs(): number
  /**
   * Keeps a lease alive until it is let go.
   * @param renewals the steps that prolong it
   * @returns lets go; may be called again
   */
  hold(renewals: (untilMs: number) => Step[]): () => void
  /** Tries the work each second until it passes, each for itself: one that goes on failing holds no other up. */
  tryAgain(work: () => Promise<void>): void
  /** Prolongs all that are held. Does so by itself, three times a lease. */
  renew(): Promise<void>
  close(): void
}

export type LeaseOptions = {
  database: Database
  clock: Clock
  serviceId: string
  leaseSeconds: number
  onTrouble: (message: string, error: unknown) => void
}

/** The client's retry under its key waits for an ending that failed. */
const againMs = 1_000

export function createLeases({ database, clock, serviceId, leaseSeconds, onTrouble }: LeaseOptions): Leases {
  const leaseMs = leaseSeconds * 1000
  const held = new Set<(untilMs: number) => Step[]>()
  const failed = new Set<() => Promise<void>>()
  const untilMs = (): number => clock.steadyMs() + leaseMs

  const renew = async (): Promise<void> => {
    const until = untilMs()
    const steps = [...held].flatMap((renewals) => renewals(until))
    if (steps.length > 0) await database.write(steps)
  }
  const renewals = setInterval(() => {
    renew().catch((error) => onTrouble('leases could not be renewed', error))
  }, leaseMs / 3).unref()

  let isTrying = false
  const endings = setInterval(async () => {
    if (isTrying) return
    isTrying = true
    await Promise.allSettled(
      [...failed].map(async (work) => {
        await work()
        failed.delete(work)
      }),
    )
    isTrying = false
  }, againMs).unref()

  return {
    serviceId,
    untilMs,
    hold(renewals) {
      held.add(renewals)
      return () => void held.delete(renewals)
    },
    tryAgain: (work) => void failed.add(work),
    renew,
    close() {
      clearInterval(renewals)
      clearInterval(endings)
    },
  }
}
