/**
 * The door for large files: an asset is announced, its bytes are put to a signed URL, and `complete` verifies them and
 * makes the asset public.
 *
 *   pending_upload (bytes may come, and others in their place) → processing (sealed, and looked at) → completed, or
 *   failed, which is final.
 *
 * One at a time works on a row, under a token with a lease. Whoever ends, ends by `endHold`: first the bytes that do
 * not count go, then the name that the row has for them.
 */
import { type AssetType, randomName } from '../asset.ts'
import type { Clock } from '../clock.ts'
import { Fault } from '../errors.ts'
import type { FileReceiver } from '../intake/receive-file.ts'
import type { Database } from '../records/database.ts'
import {
  claimForBytes,
  type DirectUpload,
  fenceHold,
  findHeldBy,
  keepBytes,
  letGo,
  renewHold,
} from '../records/direct-uploads.ts'
import type { KeptAnswer } from '../records/idempotency-keys.ts'
import type { Admission } from './admission.ts'
import type { Blobs } from './blobs.ts'
import type { KeyClaims } from './key-claims.ts'
import type { Leases } from './leases.ts'
import type { PutTarget } from './put-target.ts'
import { removeBytesOf } from './removal.ts'
import type { Reservations } from './reservations.ts'
import { checksumMismatch, sizeMismatch } from './verification.ts'

export type DirectDoor = {
  database: Database
  blobs: Blobs
  clock: Clock
  leases: Leases
  claims: KeyClaims
  reservations: Reservations
  admission: Admission
  limits: { maxFileBytes: number; allowedTypes: ReadonlySet<AssetType> }
  expirySeconds: number
  /** Below which files are public; without a trailing slash. */
  filesUrl: () => string
  target: PutTarget
  onTrouble(message: string, error: unknown): void
}

/** A request that is carried out once under its key, and replayed. */
export type Once = { replayed: boolean; answer: KeptAnswer }

export type PutBody = { read(receiver: Pick<FileReceiver, 'write' | 'closed'>): Promise<void> }

/**
 * Takes in the bytes of an upload that was announced, in place of those that came before.
 * @throws {Fault} `conflict` where it is sealed or others are coming, `invalid_parameter` where they are not as declared,
 *   `service_unavailable`; then those before them still count
 * @throws {ClientLeft} likewise
 */
export async function takeBytes(door: DirectDoor, announced: DirectUpload, body: PutBody): Promise<void> {
  const { database, blobs, leases } = door
  if (announced.state !== 'pending_upload') throw sealed()
  const leave = await door.admission.enter(announced.size_bytes)
  const [token, scratch] = [randomName(), randomName()]
  const holder = { token, serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
  const drop = leases.hold((untilMs) => [renewHold(database, announced.asset_id, token, untilMs)])
  const writer = blobs.create(scratch, announced.sha256 === null ? undefined : 'hashed')
  /** From then on the bytes may count, whatever we were told: the row says which of them are the scratch. */
  let keeping: 'not tried' | 'in doubt' | 'known' = 'not tried'
  try {
    const claimed = await database.write([claimForBytes(database, announced.asset_id, holder, scratch)])
    if (!claimed.written) throw busy()
    await receiveExactly(announced, body, (slice) => writer.write(slice))
    await writer.store()
    if (announced.sha256 !== null) assertChecksum(announced.sha256, await writer.sha256())
    keeping = 'in doubt'
    const kept = await database.write([keepBytes(database, announced.asset_id, token)])
    keeping = 'known'
    if (!kept.written) throw busy()
  } catch (error) {
    if (keeping === 'not tried') await writer.discard().catch(() => {}) // what is left is the scratch of the row
    throw error
  } finally {
    // Which of the two is the scratch may change until no write under this token can come any more.
    await endHold(door, token, keeping === 'in doubt' ? randomName() : null)
    drop()
    leave()
  }
}

async function receiveExactly(
  announced: DirectUpload,
  body: PutBody,
  write: (slice: Buffer) => Promise<void> | undefined,
): Promise<void> {
  let bytes = 0
  await body.read({
    write(slice) {
      bytes += slice.length
      if (bytes > announced.size_bytes) throw sizeMismatch({ sizeBytes: announced.size_bytes }, bytes)
      return write(slice)
    },
    get closed() {
      return bytes === announced.size_bytes
    },
  })
  if (bytes < announced.size_bytes) throw sizeMismatch({ sizeBytes: announced.size_bytes }, bytes)
}

/** Every byte is hashed again from the store when it is completed: here only to refuse what can be refused here. */
function assertChecksum(announced: string, found: string): void {
  if (found !== announced) throw checksumMismatch(announced, found)
}

/**
 * Removes what the holder of a token is to remove, and lets go of its rows. Never throws: what fails is tried again.
 * @param fence the token to take first, where a write under the other one is in doubt
 * @returns how many there were
 */
export async function endHold(
  door: Pick<DirectDoor, 'database' | 'blobs' | 'leases' | 'onTrouble'>,
  token: string,
  fence: string | null = null,
): Promise<number> {
  const { database } = door
  const holder = fence ?? token
  let count = 0
  const end = async (): Promise<void> => {
    if (fence !== null) await database.write([fenceHold(database, token, fence)])
    const rows = await findHeldBy(database, holder)
    count = Math.max(count, rows.length)
    const { failure } = await removeBytesOf(
      door,
      rows,
      ({ scratch_blob_key }) => scratch_blob_key,
      ({ asset_id }) => letGo(database, asset_id, holder),
    )
    if (failure !== null) throw failure
  }
  await end().catch((error) => {
    door.onTrouble('what a direct upload leaves could not be removed yet', error)
    door.leases.tryAgain(end)
  })
  return count
}

function sealed(): Fault {
  return new Fault(
    'conflict',
    'The bytes of this upload can no longer be replaced: it was completed, or has failed. Ask for a new direct upload.',
  )
}

export function busy(): Fault {
  return new Fault('conflict', 'Another request works on this upload just now. Retry shortly.', {
    retryAfterSeconds: 1,
  })
}
