/**
 * The one state machine that every door into the store goes through:
 *
 *   reserve (a pending row and the claim of the key) → store (the blob, under a fresh key) → commit (the row is
 *   completed and the answer kept for the key, in one transaction), or release, which leaves nothing.
 *
 * Whatever a crash leaves behind is named by a pending row, so it is found by a query and never by luck.
 */
import { assetTypes, type FileFacts, newAssetId, publicFileUrl, randomName } from '../asset.ts'
import type { Clock } from '../clock.ts'
import { Fault } from '../errors.ts'
import type { Principal } from '../principal.ts'
import {
  completePending,
  deletePending,
  fencePending,
  findPendingOf,
  findPublicFile,
  insertPending,
  renewPending,
} from '../records/assets.ts'
import type { Database, Step } from '../records/database.ts'
import { freeKey, type KeptAnswer, type KeyScope, renewKey } from '../records/idempotency-keys.ts'
import type { Blobs, BlobWriter } from './blobs.ts'
import { type Answered, inProgress, type KeyClaims, takenOver } from './key-claims.ts'
import type { Leases } from './leases.ts'

export type StoredFile = FileFacts & { name: string | null; sizeBytes: number; sha256: string }

export interface Reservation {
  readonly assetId: string
  /** Where they are found once they are stored. */
  readonly blobKey: string
  /** Where the bytes go; nobody can see them before `commit`. */
  readonly writer: BlobWriter
  /**
   * Makes the asset public and keeps the answer for the key, both or neither.
   * @returns the answer's body
   * @throws {Fault} `service_unavailable`: not committed, or not known to be
   */
  commit(file: StoredFile, joint?: JointCommit): Promise<string>
  /**
   * Takes everything back. Never throws: what cannot be removed now is swept later.
   * @param cause why, where it failed
   * @returns what to tell the client: the cause, or that another had taken our place over and removed what we stored,
   *   which looks like a failure of the storage
   */
  release(cause?: unknown): Promise<unknown>
}

export interface Reservations {
  /**
   * @param key null: the request has no Idempotency-Key
   * @param joint an id that is given out already, and the step that takes it, which must change its row
   * @throws {Fault} `request_in_progress` where another request holds the key, `service_unavailable`; `joint.refused`
   */
  reserve(
    principal: Principal,
    key: KeyScope | null,
    joint?: JointReservation,
  ): Promise<Reservation | Answered>
  /** @throws {Fault} `request_in_progress` */
  findAnswer(key: KeyScope): Promise<KeptAnswer | null>
}

export type JointCommit = {
  /** Carried out with it or not at all. */
  steps: Step[]
  /** What the answer has beside the four facts of every asset. */
  more: Record<string, string>
  /** By which a replay is told to be of the same request; the file's own where none is given. */
  requestSha256: string | null
}

export type JointReservation = { assetId: string; step(token: string): Step; refused(): Fault }

export type ReservationOptions = {
  database: Database
  blobs: Blobs
  clock: Clock
  leases: Leases
  claims: KeyClaims
  /** Below which files are public; without a trailing slash. */
  filesUrl: () => string
  onTrouble: (message: string, error: unknown) => void
}

type Held = { assetId: string; token: string; blobKey: string; key: KeyScope | null }

export function createReservations(options: ReservationOptions): Reservations {
  const { database, blobs, clock, leases, claims } = options

  return {
    findAnswer: claims.findAnswer,
    async reserve(principal, key, joint) {
      const held = {
        assetId: joint?.assetId ?? newAssetId(),
        token: randomName(),
        blobKey: blobs.newKey(),
        key,
      }
      const pending = insertPending(database, {
        asset_id: held.assetId,
        workspace: principal.workspace,
        owner: principal.owner,
        token: held.token,
        service_id: leases.serviceId,
        blob_key: held.blobKey,
        created_at_ms: clock.wallMs(),
        lease_expires_at_ms: leases.untilMs(),
      })
      const letGo = leases.hold((untilMs) => [
        renewPending(database, held.assetId, held.token, untilMs),
        ...(key === null ? [] : [renewKey(database, key, held.token, untilMs)]),
      ])
      try {
        const steps = joint === undefined ? [pending] : [joint.step(held.token), pending]
        const claimed = await claims.claim(key, held.token, steps)
        if (claimed.written) return openReservation(options, held, letGo)
        letGo()
        if (claimed.answer !== null) return { answer: claimed.answer }
        throw joint?.refused() ?? inProgress()
      } catch (error) {
        // It may have been written all the same: then nothing renews it, and the sweep takes it.
        letGo()
        throw error
      }
    },
  }
}

function openReservation(options: ReservationOptions, held: Held, letGo: () => void): Reservation {
  const { database, blobs, clock, leases, claims, onTrouble } = options
  const writer = blobs.create(held.blobKey, 'hashed')

  /** From then on the row may be completed, whatever we were told. */
  let commitTried = false
  const fence = randomName()

  /** Afterwards it can no longer become public, unless it is already. */
  const isCommitted = async (): Promise<boolean> => {
    const { written } = await database.write([fencePending(database, held.assetId, held.token, fence)])
    return !written && (await findPublicFile(database, held.assetId)) !== null
  }

  const isTakenOver = async (): Promise<boolean> => (await findPendingOf(database, held.token)).length === 0

  const release = async (cause?: unknown): Promise<unknown> => {
    let reason = cause
    // The bytes before the row: were the row to go first, a crash in between would leave bytes that nothing names. And
    // before anything is asked: the database may be on the disk that they fill.
    const takeBack = async (): Promise<void> => {
      if (commitTried && (await isCommitted())) return
      await writer.discard()
      if (!commitTried && isFailureOfOurs(cause) && (await isTakenOver())) reason = takenOver()
      const free = held.key === null ? [] : [freeKey(database, held.key, held.token)]
      await database.write([deletePending(database, held.assetId, commitTried ? fence : held.token), ...free])
    }
    try {
      await takeBack()
    } catch (error) {
      onTrouble('an upload could not be taken back yet', error)
      leases.tryAgain(takeBack)
    } finally {
      letGo()
    }
    return reason
  }

  return {
    assetId: held.assetId,
    blobKey: held.blobKey,
    writer,
    release,
    async commit(file, joint = { steps: [], more: {}, requestSha256: null }) {
      const completedAtMs = clock.wallMs()
      const body = answerBody(held.assetId, file, options.filesUrl(), joint.more)
      const complete = completePending(database, held.assetId, held.token, { ...file, completedAtMs })
      const answer = { status: 200, body, file_sha256: joint.requestSha256 ?? file.sha256 }
      const keeping = claims.keeping(held.key, held.token, answer)
      commitTried = true
      const outcome = await database.write([complete, ...joint.steps, ...keeping])
      if (!outcome.written) throw takenOver()
      letGo()
      return body
    },
  }
}

function isFailureOfOurs(cause: unknown): boolean {
  return cause instanceof Fault && (cause.code === 'service_unavailable' || cause.code === 'internal_error')
}

/** The answer as it goes over the wire and is kept for replays, byte for byte. */
export function answerBody(
  assetId: string,
  file: Pick<StoredFile, 'type' | 'sizeBytes'>,
  filesUrl: string,
  more: Record<string, string> = {},
): string {
  return JSON.stringify({
    data: {
      asset_id: assetId,
      url: publicFileUrl(filesUrl, assetId, file.type),
      mime_type: assetTypes[file.type].mimeType,
      size_bytes: file.sizeBytes,
      ...more,
    },
  })
}
