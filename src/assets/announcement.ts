/** The first step of a direct upload: what is to come is written down, and a URL signed for exactly that. */
import { newAssetId } from '../asset.ts'
import type { Principal } from '../principal.ts'
import { insertDirectUpload, type NewDirectUpload } from '../records/direct-uploads.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'
import type { DirectDoor, Once } from './direct-uploads.ts'

/** What a client says it will send. */
export type Announcement = { name: string; contentType: string; sizeBytes: number; sha256: string | null }

export function newDirectUpload(
  { clock, expirySeconds, target }: DirectDoor,
  { workspace, owner }: Principal,
  { name, contentType, sizeBytes, sha256 }: Announcement,
  item: { batchId: string; index: number } | null,
): NewDirectUpload {
  const nowMs = clock.wallMs()
  return {
    asset_id: newAssetId(),
    workspace,
    owner,
    name,
    content_type: contentType,
    size_bytes: sizeBytes,
    sha256,
    created_at_ms: nowMs,
    expires_at_ms: nowMs + expirySeconds * 1000,
    batch_id: item?.batchId ?? null,
    item_index: item?.index ?? null,
    blob_key: target.newBlobKey(),
  }
}

/** What the client is told of an upload that it has announced. */
export async function announcedFacts(door: DirectDoor, announced: NewDirectUpload) {
  const { url, headers } = await door.target.grant(announced)
  return {
    asset_id: announced.asset_id,
    upload_url: url,
    upload_headers: headers,
    expires_in_seconds: door.expirySeconds,
    max_bytes: door.limits.maxFileBytes,
    status: 'pending_upload',
  }
}

/** @throws {Fault} `request_in_progress`, `service_unavailable` */
export async function announce(
  door: DirectDoor,
  principal: Principal,
  key: KeyScope | null,
  announcement: Announcement,
  bodySha256: string,
): Promise<Once> {
  await door.admission.assertRoom()
  const announced = newDirectUpload(door, principal, announcement, null)
  const body = JSON.stringify({ data: await announcedFacts(door, announced) })
  const answer = { status: 200, body, file_sha256: bodySha256 }
  const once = await door.claims.writeOnce(key, [insertDirectUpload(door.database, announced)], answer)
  if (once === null) throw new Error('an insert applies always')
  return once
}
