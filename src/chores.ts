/** Work that is nobody's request: done every so often while the service runs. */
import type { FastifyBaseLogger } from 'fastify'
import { createChoreRunner } from './assets/chore-runner.ts'
import { sweepDirectUploads } from './assets/direct-sweep.ts'
import type { DirectDoor } from './assets/direct-uploads.ts'
import { removeUnowned } from './assets/gc.ts'
import { sweepExpiredKeys, sweepLapsed } from './assets/sweep.ts'
import type { Verifier } from './assets/verifier.ts'
import type { ApiKeys } from './gate/api-key.ts'

const hourMs = 3_600_000
/** A copy that died in the middle of a chore is waited for this long. */
const leaseMs = 30_000

type ChoreOptions = {
  direct: DirectDoor
  verifier: Verifier
  apiKeys: ApiKeys
  /** How long a lease lasts: as often it is looked whether one has ended, but not more often than every five seconds. */
  leaseSeconds: number
  log: FastifyBaseLogger
}

/** @returns stops them; what runs just now goes on for as long as the stores are open, and is taken up by the next start */
export function startChores({ direct, verifier, apiKeys, leaseSeconds, log }: ChoreOptions): () => void {
  const { database, blobs, leases, clock } = direct
  const runner = createChoreRunner({ database, clock, leaseMs })
  let stopped = false
  const failed = (what: string) => (err: unknown) => {
    if (!stopped) log.error({ err }, `${what} failed`)
  }
  const every = (ms: number, what: string, work: () => Promise<unknown>): NodeJS.Timeout =>
    setInterval(() => work().catch(failed(what)), ms).unref()
  /** Of all copies of the service one does it. */
  const oneOfUs = (periodMs: number, what: string, work: () => Promise<void>): NodeJS.Timeout =>
    every(Math.min(periodMs, 60_000), what, () => runner.runIfDue(what, periodMs, work))
  const sweep = (): Promise<void> => sweepDirectUploads(direct)
  // What has expired while no service ran need not wait for its minute.
  sweep().catch(failed('taking back expired uploads'))
  verifier.wake()
  const timers = [
    every(10_000, 'verifying what waits', async () => verifier.wake()),
    every(10_000, 'writing down the last uses of keys', () => apiKeys.flush()),
    oneOfUs(
      Math.min(60_000, Math.max(5_000, leaseSeconds * 1_000)),
      'taking back uploads that were left alone',
      async () => {
        await leases.renew() // else a pause of this process looks like its end
        const lapsed = await sweepLapsed(database, blobs, leases, clock)
        if (lapsed > 0) log.warn({ lapsed }, 'took back uploads whose leases had ended')
        await sweep()
      },
    ),
    oneOfUs(hourMs, 'looking for files that no asset owns', async () => {
      const { removed } = await removeUnowned(database, blobs, { notAfterMs: clock.wallMs() - hourMs })
      if (removed > 0) log.warn({ removed }, 'removed files that no asset owned')
    }),
    oneOfUs(600_000, 'forgetting old answers', () => sweepExpiredKeys(database, clock)),
  ]
  return () => {
    stopped = true
    timers.forEach(clearInterval)
  }
}
