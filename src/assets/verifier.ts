/**
 * Verifies in the background what is sealed and waits, the oldest first: items of batches, and what a crash or a passing
 * fault left behind. Another process may be at it too; the claim of each row decides.
 */
import { Fault } from '../errors.ts'
import { type DirectUpload, findQueued } from '../records/direct-uploads.ts'
import { verifyAndCommit } from './completion.ts'
import type { DirectDoor } from './direct-uploads.ts'

export interface Verifier {
  /** Something may wait. */
  wake(): void
  /** Begins nothing new; resolves once nothing runs. */
  stop(): Promise<void>
}

/** Each reads a whole file: more of them would only wait for the disk, and take it from those who upload. */
const verifiedAtOnce = 2
const queuedAtOnce = 100

export function createVerifier(door: DirectDoor): Verifier {
  let round: Promise<void> | null = null
  let isAskedAgain = false
  let isStopped = false

  const verify = async (upload: DirectUpload): Promise<void> => {
    const { blob_key } = upload
    if (blob_key === null) return
    try {
      await verifyAndCommit(door, null, { ...upload, blob_key }, { sha256: null, requestSha256: null })
    } catch (error) {
      const isSettled = error instanceof Fault && error.code !== 'service_unavailable'
      if (!isSettled) door.onTrouble('a direct upload could not be verified yet', error)
    }
  }

  /** Each is tried once a round: what fails for a passing cause waits for the next, and holds up none behind it. */
  const runRound = async (): Promise<void> => {
    for (let last: DirectUpload | null = null; ; ) {
      const queued: DirectUpload[] = await findQueued(door.database, last, queuedAtOnce)
      last = queued.at(-1) ?? null
      if (last === null || isStopped) return
      // Copies of the service that all began with the oldest would contend for each.
      const waiting = queued.toSorted(() => Math.random() - 0.5).values()
      const work = async (): Promise<void> => {
        for (const upload of waiting) {
          if (isStopped) return
          await verify(upload)
        }
      }
      await Promise.all(Array.from({ length: verifiedAtOnce }, work))
    }
  }

  const wake = (): void => {
    if (isStopped) return
    isAskedAgain = round !== null
    round ??= runRound()
      .catch((error) => door.onTrouble('what waits to be verified could not be read', error))
      .finally(() => {
        round = null
        if (isAskedAgain) wake()
      })
  }
  return {
    wake,
    async stop() {
      isStopped = true
      await round
    },
  }
}
