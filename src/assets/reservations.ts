/**
 * The one state machine that every door into the store goes through:
 *
 *   reserve (a pending row and the claim of the key) → store (the blob, under a fresh key) → commit (the row is
 *   completed and the answer kept for the key, in one transaction), or release, which leaves nothing.
 *
 * Whatever a crash leaves behind is named by a pending row, so it is found by a query and never by luck.
 */
import { type Inspection, mediaTypes, newAssetId, publicFileName, randomName } from '../asset.ts'
import { Fault } from '../errors.ts'
import type { Principal } from '../principal.ts'
import {
  completePending,
  deletePending,
  findPublicFile,
  insertPending,
  renewPending,
} from '../records/assets.ts'
import type { Database, Step } from '../records/database.ts'
import {
  claimKey,
  findKey,
  freeKey,
  type KeptAnswer,
  type KeyScope,
  keepAnswer,
  renewKey,
} from '../records/idempotency-keys.ts'
import type { Blobs, BlobWriter } from './blobs.ts'

export type StoredFile = Inspection & { name: string | null; sizeBytes: number; sha256: string }

export interface Reservation {
  readonly assetId: string
  /** Where the bytes go; nobody can see them before `commit`. */
  readonly writer: BlobWriter
  /**
   * Makes the asset public and keeps the answer for the key, both or neither.
   * @returns the answer's body
   * @throws {Fault} `service_unavailable`: not committed, or not known to be
   */
  commit(file: StoredFile): Promise<string>
  /** Takes everything back. Never throws: what cannot be removed now is swept later. */
  release(): Promise<void>
}

/** The key has an answer already. */
export type Answered = { answer: KeptAnswer }

export interface Reservations {
  /**
   * @param key null: the request has no Idempotency-Key
   * @throws {Fault} `request_in_progress` where another request holds the key, `service_unavailable`
   */
  reserve(principal: Principal, key: KeyScope | null): Promise<Reservation | Answered>
  /** @throws {Fault} `request_in_progress` */
  findAnswer(key: KeyScope): Promise<KeptAnswer | null>
  close(): void
}

export type ReservationOptions = {
  database: Database
  blobs: Blobs
  /** This run of the service: what another run reserved is abandoned. */
  serviceId: string
  leaseSeconds: number
  /** Without a trailing slash. */
  publicUrl: () => string
  onTrouble: (message: string, error: unknown) => void
}

/** "Subsequent calls within 24 hours that share this key replay the original response". */
const keepAnswersMs = 24 * 60 * 60 * 1000

type Held = { assetId: string; token: string; blobKey: string; key: KeyScope | null }

export function createReservations(options: ReservationOptions): Reservations {
  const { database, serviceId, leaseSeconds, onTrouble } = options
  const running = new Map<string, Held>()
  const leaseMs = leaseSeconds * 1000

  const renew = async (): Promise<void> => {
    const until = Date.now() + leaseMs
    const steps = [...running.values()].flatMap(({ assetId, token, key }): Step[] => [
      renewPending(database, assetId, token, until),
      ...(key === null ? [] : [renewKey(database, key, token, until)]),
    ])
    if (steps.length > 0) await database.write(steps)
  }
  const timer = setInterval(() => {
    renew().catch((error) => onTrouble('leases could not be renewed', error))
  }, leaseMs / 3)
  timer.unref()

  const findAnswer = async (key: KeyScope): Promise<KeptAnswer | null> => {
    const now = Date.now()
    const state = await findKey(database, key, now)
    if (state === null) return null
    if ('answer' in state) return state.answer
    throw inProgress()
  }

  const tryReserve = async (principal: Principal, key: KeyScope | null): Promise<Held | null> => {
    const now = Date.now()
    const held = { assetId: newAssetId(), token: randomName(), blobKey: randomName(), key }
    const claim = { token: held.token, serviceId, nowMs: now, leaseExpiresAtMs: now + leaseMs }
    const pending = insertPending(database, {
      asset_id: held.assetId,
      workspace: principal.workspace,
      owner: principal.owner,
      token: held.token,
      service_id: serviceId,
      blob_key: held.blobKey,
      created_at_ms: now,
      lease_expires_at_ms: claim.leaseExpiresAtMs,
    })
    running.set(held.token, held)
    try {
      const steps = key === null ? [pending] : [claimKey(database, key, claim), pending]
      const outcome = await database.write(steps)
      if (!outcome.written) running.delete(held.token)
      return outcome.written ? held : null
    } catch (error) {
      // It may have been written all the same: then nothing renews it, and the sweep takes it.
      running.delete(held.token)
      throw error
    }
  }

  return {
    findAnswer,
    async reserve(principal, key) {
      const held = await tryReserve(principal, key)
      if (held !== null) return openReservation(options, held, () => running.delete(held.token))
      const answer = key === null ? null : await findAnswer(key)
      if (answer !== null) return { answer }
      throw inProgress() // freed between the two: the client's retry will pass
    },
    close: () => clearInterval(timer),
  }
}

function openReservation(options: ReservationOptions, held: Held, onEnd: () => void): Reservation {
  const { database, blobs, onTrouble } = options
  const writer = blobs.create(held.blobKey)

  /** From then on the row may be completed, whatever we were told: it decides whether the bytes stay. */
  let commitTried = false

  const release = async (): Promise<void> => {
    try {
      // The bytes first: were the row to go first, a crash in between would leave bytes that nothing names.
      if (!commitTried) await writer.discard()
      const free = held.key === null ? [] : [freeKey(database, held.key, held.token)]
      const remove = { ...deletePending(database, held.assetId, held.token), mustChange: true }
      const outcome = await database.write([remove, ...free])
      const isKept = !outcome.written && (await findPublicFile(database, held.assetId)) !== null
      if (!isKept) await writer.discard()
    } catch (error) {
      onTrouble('an upload could not be taken back yet', error)
    } finally {
      onEnd()
    }
  }

  return {
    assetId: held.assetId,
    writer,
    release,
    async commit(file) {
      const completedAtMs = Date.now()
      const body = answerBody(held.assetId, file, options.publicUrl())
      const steps = [completePending(database, held.assetId, held.token, { ...file, completedAtMs })]
      if (held.key !== null) {
        const kept = {
          status: 200,
          body,
          file_sha256: file.sha256,
          expires_at_ms: completedAtMs + keepAnswersMs,
        }
        steps.push(keepAnswer(database, held.key, held.token, kept))
      }
      commitTried = true
      const outcome = await database.write(steps)
      if (!outcome.written) throw takenOver()
      onEnd()
      return body
    },
  }
}

/** The answer as it goes over the wire and is kept for replays, byte for byte. */
function answerBody(assetId: string, file: StoredFile, publicUrl: string): string {
  return JSON.stringify({
    data: {
      asset_id: assetId,
      url: `${publicUrl}/files/${publicFileName(assetId, file.type)}`,
      mime_type: mediaTypes[file.type].mimeType,
      size_bytes: file.sizeBytes,
    },
  })
}

function inProgress(): Fault {
  return new Fault(
    'request_in_progress',
    'A request with this Idempotency-Key is already in progress. Retry shortly.',
    { retryAfterSeconds: 1 },
  )
}

/** Fencing: this upload was away for longer than its lease, and its place was given to another. */
function takenOver(): Fault {
  return new Fault(
    'service_unavailable',
    'The upload was interrupted for longer than its lease, so it was not stored. Retry with the same Idempotency-Key.',
    { retryAfterSeconds: 1 },
  )
}
