/**
 * The second half of the story, for the multipart door: we make sure it happens **once**, read the **parts**, look
 * **inside** the bytes, **store** them, **record** them, and **answer**.
 */
import { createHash } from 'node:crypto'
import { ClientLeft, Fault } from '../errors.ts'
import { fileTooLarge } from '../intake/measure.ts'
import { multipartBoundary } from '../intake/multipart.ts'
import {
  createFileReceiver,
  type FileReceiver,
  type FileSink,
  maxFieldBytes,
  type ReceivedFile,
  type ReceiveLimits,
  withBothSides,
} from '../intake/receive-file.ts'
import type { Principal } from '../principal.ts'
import type { KeptAnswer, KeyScope } from '../records/idempotency-keys.ts'
import type { Admission } from './admission.ts'
import type { Answered } from './key-claims.ts'
import type { Reservations } from './reservations.ts'

/** A request to upload, as the edge hands it on once its caller is known and within the limits. */
export type Upload = {
  principal: Principal
  /** Null: no Idempotency-Key. */
  key: KeyScope | null
  contentType: string | undefined
  /** Null for a chunked body. */
  contentLengthBytes: number | null
  body: UploadBody
}

export type UploadBody = {
  /** Hands the body to the receiver to its end; rejects with what the receiver throws, or with ClientLeft. */
  read(receiver: FileReceiver): Promise<void>
  /** True where the client sends the body only once we ask for it (`Expect: 100-continue`). */
  waitsToBeAsked: boolean
}

export type UploadAnswer = {
  status: number
  body: string
  replayed: boolean
  assetId: string
  /** What was taken in: 0 for a replay. */
  sizeBytes: number
}

export type UploadDoor = {
  admission: Admission
  reservations: Reservations
  limits: ReceiveLimits
  /** A replay came with other bytes than the original, or with none that could be compared. */
  onDifferentReplay(replay: { workspace: string; asset_id: string; reason: string }): void
}

/**
 * Takes one file in.
 * @throws {Fault} whatever is wrong with the request or with us; then nothing is left of it
 * @throws {ClientLeft} where the connection dropped before the closing boundary; likewise
 */
export async function uploadAsset(door: UploadDoor, upload: Upload): Promise<UploadAnswer> {
  const entered = await enter(door, upload)
  if ('answer' in entered) return replay(door, upload, entered.answer)
  const { boundary, leave } = entered
  // A replay counts for itself: the place is given back before it begins.
  const taken = await takeIn(door, upload, boundary).finally(leave)
  return 'answer' in taken ? replay(door, upload, taken.answer) : taken
}

type Entered = { boundary: string; leave: () => void }

/**
 * A replay needs no place and no good headers. So whether there is an answer is asked here only where something is
 * wrong; where nothing is, the reservation finds out, and most uploads have one round trip to the database less.
 */
async function enter(door: UploadDoor, upload: Upload): Promise<Entered | Answered> {
  try {
    const boundary = checkHeaders(door.limits, upload)
    return {
      boundary,
      leave: await door.admission.enter(upload.contentLengthBytes ?? maxBodyBytes(door.limits)),
    }
  } catch (error) {
    const earlier = upload.key === null ? null : await door.reservations.findAnswer(upload.key)
    if (earlier !== null) return { answer: earlier }
    throw error
  }
}

async function takeIn(door: UploadDoor, upload: Upload, boundary: string): Promise<UploadAnswer | Answered> {
  const reserved = await door.reservations.reserve(upload.principal, upload.key)
  if ('answer' in reserved) return reserved
  try {
    const file = await receive(boundary, door.limits, upload.body, reserved.writer)
    await reserved.writer.store()
    const sha256 = await reserved.writer.sha256()
    const body = await reserved.commit({ ...file, sha256 })
    return { status: 200, body, replayed: false, assetId: reserved.assetId, sizeBytes: file.sizeBytes }
  } catch (error) {
    throw await reserved.release(error)
  }
}

/** What the headers alone tell, before a byte of the body is read. */
function checkHeaders(limits: ReceiveLimits, upload: Upload): string {
  try {
    if ((upload.contentLengthBytes ?? 0) > maxBodyBytes(limits)) throw fileTooLarge(limits.maxFileBytes)
    return multipartBoundary(upload.contentType)
  } catch (error) {
    throw withBothSides(error, null, limits.allowedTypes)
  }
}

/** The most that one request may have: a file, and what may come beside it. */
export function maxBodyBytes({ maxFileBytes }: Pick<ReceiveLimits, 'maxFileBytes'>): number {
  return maxFileBytes + maxFieldBytes
}

async function receive(
  boundary: string,
  limits: ReceiveLimits,
  body: UploadBody,
  sink: FileSink,
): Promise<ReceivedFile> {
  const receiver = createFileReceiver(boundary, limits, sink)
  await body.read(receiver)
  return receiver.end()
}

/** Gives the kept answer again. The body is read only to see whether it has the same file. */
async function replay(door: UploadDoor, upload: Upload, kept: KeptAnswer): Promise<UploadAnswer> {
  const { data } = JSON.parse(kept.body) as { data: { asset_id: string } }
  const warn = (reason: string): void =>
    door.onDifferentReplay({ workspace: upload.principal.workspace, asset_id: data.asset_id, reason })
  if (!upload.body.waitsToBeAsked) await compareWhereThereIsRoom(door, upload, kept, warn)
  return { status: kept.status, body: kept.body, replayed: true, assetId: data.asset_id, sizeBytes: 0 }
}

/** Reading the body only to compare it counts like any upload; where there is no place for it, nobody looks. */
async function compareWhereThereIsRoom(
  door: UploadDoor,
  upload: Upload,
  kept: KeptAnswer,
  warn: (reason: string) => void,
): Promise<void> {
  const bytes = Math.min(upload.contentLengthBytes ?? maxBodyBytes(door.limits), maxBodyBytes(door.limits))
  const leave = await door.admission.enter(bytes).catch(() => null)
  if (leave === null) return
  await compare(door, upload, kept, warn).finally(leave)
}

async function compare(
  door: UploadDoor,
  upload: Upload,
  kept: KeptAnswer,
  warn: (reason: string) => void,
): Promise<void> {
  try {
    const boundary = checkHeaders(door.limits, upload)
    const hash = createHash('sha256')
    await receive(boundary, door.limits, upload.body, { write: (slice) => void hash.update(slice) })
    if (hash.digest('hex') !== kept.file_sha256) warn('other_bytes')
  } catch (error) {
    if (error instanceof ClientLeft) throw error
    if (!(error instanceof Fault)) throw error
    warn(error.details?.reason ?? error.code)
  }
}
