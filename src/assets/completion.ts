/** The last step of a direct upload: its bytes are verified, and it is an asset, or failed for good. */
import { Fault } from '../errors.ts'
import type { Principal } from '../principal.ts'
import {
  claimForVerification,
  type DirectUpload,
  findDirectUpload,
  renewHold,
  settle,
} from '../records/direct-uploads.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'
import { findAsset } from '../records/library.ts'
import { declaredType } from './declared-type.ts'
import { busy, type DirectDoor, endHold, type Once } from './direct-uploads.ts'
import { assetNotFound } from './library.ts'
import { answerBody, type Reservation } from './reservations.ts'
import { checksumMismatch, verifyBlob } from './verification.ts'

/** `sha256`: of the bytes, hex, where the client gives it only now. `requestSha256`: of the request's own body. */
export type Asked = { sha256: string | null; requestSha256: string | null }

/**
 * Verifies the bytes of an announced upload and makes the asset public; one that is public already is told of again.
 * @throws {Fault} `asset_not_found`; `conflict` where the bytes are not there or somebody is at it; what is wrong with
 *   the file, and then for good; `request_in_progress`, `service_unavailable`
 */
export async function complete(
  door: DirectDoor,
  principal: Principal,
  key: KeyScope | null,
  assetId: string,
  { sha256, requestSha256 }: Asked,
): Promise<Once> {
  const told = async (): Promise<Once | null> => {
    const asset = await findAsset(door.database, principal.workspace, assetId)
    if (asset === null) return null
    if (sha256 !== null && sha256 !== asset.sha256) throw checksumMismatch(sha256, asset.sha256)
    const facts = { type: asset.media_type, sizeBytes: asset.size_bytes }
    const body = answerBody(assetId, facts, door.filesUrl(), { status: 'completed' })
    const answer = { status: 200, body, file_sha256: requestSha256 }
    return (await door.claims.writeOnce(key, [], answer)) ?? { replayed: false, answer }
  }
  const again = await told()
  if (again !== null) return again
  const announced = await findDirectUpload(door.database, assetId)
  if (announced === null || announced.workspace !== principal.workspace) throw assetNotFound()
  if (announced.state === 'completed') {
    const since = await told() // by another call, after we had looked
    if (since === null) throw assetNotFound() // it was deleted
    return since
  }
  if (announced.error !== null) throw faultOf(announced.error)
  if (announced.state === 'pending_upload' && announced.expires_at_ms <= door.clock.wallMs()) {
    throw assetNotFound()
  }
  if (announced.blob_key === null || !(await door.target.hasBytes(announced.blob_key))) throw withoutBytes()
  return verifyAndCommit(door, key, { ...announced, blob_key: announced.blob_key }, { sha256, requestSha256 })
}

type WithBytes = DirectUpload & { blob_key: string }

/**
 * The bytes are taken to a key that no URL was ever signed for, and that copy is verified and becomes the asset.
 * @throws as `complete` does
 */
export async function verifyAndCommit(
  door: DirectDoor,
  key: KeyScope | null,
  announced: WithBytes,
  asked: Asked,
): Promise<Once> {
  const { database, leases } = door
  const { workspace, owner, asset_id: assetId } = announced
  let token = ''
  const reserving = door.reservations.reserve({ workspace, owner, scopes: new Set() }, key, {
    assetId,
    step(ours) {
      token = ours
      const holder = { token, serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
      return claimForVerification(database, assetId, announced.blob_key, holder)
    },
    refused: busy,
  })
  const reserved = await reserving.catch(async (error) => {
    await endHold(door, token) // it may have been written all the same
    throw error
  })
  if ('answer' in reserved) return { replayed: true, answer: reserved.answer }
  const drop = leases.hold((untilMs) => [renewHold(database, assetId, token, untilMs)])
  try {
    return await commitCopy(door, reserved, announced, asked, token)
  } catch (error) {
    const reason = await reserved.release(error)
    if (isFinal(reason)) await fail(door, assetId, token, reason)
    throw reason
  } finally {
    await endHold(door, token)
    drop()
  }
}

async function commitCopy(
  door: DirectDoor,
  reserved: Reservation,
  announced: WithBytes,
  { sha256, requestSha256 }: Asked,
  token: string,
): Promise<Once> {
  const { database, blobs, clock, limits } = door
  if ((await blobs.stat(announced.blob_key)) === null) {
    await blobs.assertUsable() // a folder that is away for a moment has lost nothing
    throw lost()
  }
  await reserved.writer.storeCopy(announced.blob_key)
  const type = declaredType(announced.content_type)
  if (type === null) throw new Error(`${announced.content_type} was taken and is no type of ours`)
  const declared = {
    type,
    contentType: announced.content_type,
    sizeBytes: announced.size_bytes,
    sha256: sha256 ?? announced.sha256,
  }
  const file = await verifyBlob(blobs, reserved.blobKey, declared, limits.allowedTypes)
  const outcome = { state: 'completed', error: null, atMs: clock.wallMs() } as const
  const body = await reserved.commit(
    { ...file, name: announced.name },
    {
      steps: [settle(database, announced.asset_id, token, outcome)],
      more: { status: 'completed' },
      requestSha256,
    },
  )
  return { replayed: false, answer: { status: 200, body, file_sha256: requestSha256 } }
}

/** No other try can do better: the file itself is at fault, or gone. */
function isFinal(error: unknown): error is Fault {
  return error instanceof Fault && (error.code === 'invalid_parameter' || error.code === 'internal_error')
}

function lost(): Fault {
  return new Fault('internal_error', 'The bytes of this upload were lost on our side. Upload the file again.')
}

async function fail(door: DirectDoor, assetId: string, token: string, fault: Fault): Promise<void> {
  const error = JSON.stringify({
    code: fault.code,
    message: fault.message,
    param: fault.param,
    details: fault.details,
  })
  const outcome = { state: 'failed', error, atMs: door.clock.wallMs() } as const
  await door.database
    .write([settle(door.database, assetId, token, outcome)])
    .catch((cause) => door.onTrouble('a failed direct upload could not be written down', cause))
}

export type KeptError = Pick<Fault, 'code' | 'message' | 'param' | 'details'>

function faultOf(kept: string): Fault {
  const { code, message, param, details } = JSON.parse(kept) as KeptError
  return new Fault(code, message, {
    ...(param === null ? {} : { param }),
    ...(details === undefined ? {} : { details }),
  })
}

function withoutBytes(): Fault {
  return new Fault(
    'conflict',
    'The bytes of this upload are not there yet. Put them to its upload_url, then complete it.',
    { retryAfterSeconds: 1 },
  )
}
